package qemu

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUsers(t *testing.T) {
	base := t.TempDir()
	dir := func(name string) runDir {
		d := runDir(filepath.Join(base, name))
		if err := os.MkdirAll(string(d), 0o700); err != nil {
			t.Fatal(err)
		}
		return d
	}
	three := Users{First: 5000, Last: 5002}
	first := users{Users: three, runDir: base}
	of := func(u *users, name string) int {
		t.Helper()
		user, err := u.of(dir(name))
		if err != nil || user < three.First || user > three.Last {
			t.Fatalf("%s has user %d, %v", name, user, err)
		}
		return user
	}
	a, b, c := of(&first, "a"), of(&first, "b"), of(&first, "c")
	if a == b || b == c || c == a {
		t.Errorf("they have users %d, %d and %d", a, b, c)
	}
	if again := of(&first, "a"); again != a {
		t.Errorf("a has user %d, and had %d", again, a)
	}
	if user, err := first.of(dir("d")); err == nil {
		t.Errorf("a fourth has user %d of three", user)
	}

	// The next daemon knows them, also if the range is another by then.
	next := users{Users: Users{First: 6000, Last: 6000}, runDir: base}
	if again := of(&next, "b"); again != b {
		t.Errorf("b has user %d, and had %d", again, b)
	}
	next.Users = three
	if err := os.RemoveAll(string(dir("b"))); err != nil {
		t.Fatal(err)
	}
	next.drop(dir("b"))
	if user := of(&next, "d"); user != b {
		t.Errorf("d has user %d, want %d, which is free", user, b)
	}
	owners, err := next.owners()
	if err != nil || len(owners) != 3 || owners[b] != "d" || owners[a] != "a" {
		t.Errorf("owners: %v, %v", owners, err)
	}
}

func TestParseUsers(t *testing.T) {
	if u, err := ParseUsers("3000-4000"); err != nil || u != (Users{3000, 4000}) {
		t.Errorf("got %v, %v", u, err)
	}
	if u, err := ParseUsers(DefaultUsers.String()); err != nil || u != DefaultUsers {
		t.Errorf("got %v, %v", u, err)
	}
	for _, s := range []string{"", "3000", "0-5000", "999-2000", "4000-3000", "3000-4294967295", "a-b", "3000-4000-5000", "-3000"} {
		if u, err := ParseUsers(s); err == nil {
			t.Errorf("%q: %v, want an error", s, u)
		}
	}
}
