package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSplitVM(t *testing.T) {
	for _, c := range []struct {
		arg  string
		want place
		in   bool
	}{
		{"hello:/etc/hosts", place{"hello", "/etc/hosts"}, true},
		{"hello:notes", place{"hello", "notes"}, true},
		{"hello:", place{"hello", ""}, true},
		{"hello:a:b", place{"hello", "a:b"}, true},
		{"notes", place{"", "notes"}, false},
		{"./a:b", place{"", "./a:b"}, false},
		{":x", place{"", ":x"}, false},
	} {
		got, in := splitVM(c.arg)
		if got != c.want || in != c.in {
			t.Errorf("splitVM(%q) = %+v, %v", c.arg, got, in)
		}
	}
}

func TestPackAndUnpack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	when := time.Unix(1_700_000_000, 0)
	for name, content := range map[string]string{"a": "A", "dir/b": "B", "dir/deep/c": ""} {
		file := filepath.Join(from, name)
		if err := errors.Join(
			os.MkdirAll(filepath.Dir(file), 0o755),
			os.WriteFile(file, []byte(content), 0o640),
			os.Chtimes(file, when, when),
		); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Symlink("../a", filepath.Join(from, "dir/link")),
		os.Chmod(filepath.Join(from, "dir"), 0o555),
		os.WriteFile(filepath.Join(to, "a"), []byte("old"), 0o600),
	); err != nil {
		t.Fatal(err)
	}

	var archive bytes.Buffer
	if err := pack(&archive, from); err != nil {
		t.Fatal(err)
	}
	if err := unpackTo(t, to, &archive); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "A", "dir/b": "B", "dir/deep/c": "", "dir/link": "A"} {
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", name, got, err)
		}
	}
	info, err := os.Stat(filepath.Join(to, "dir/b"))
	if err != nil || info.Mode() != 0o640 || !info.ModTime().Equal(when) {
		t.Errorf("dir/b: mode %v, time %v", info.Mode(), info.ModTime())
	}
	if info, err := os.Stat(filepath.Join(to, "dir")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("dir: %v, %v", info.Mode(), err)
	}
}

// A guest's archive cannot do anything outside of the directory that it is for.
func TestUnpackStaysInside(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"a name above":     {{Name: "../evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"an absolute name": {{Name: "/evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"through a link": {
			{Name: "way", Typeflag: tar.TypeSymlink, Linkname: ".."},
			{Name: "way/evil", Typeflag: tar.TypeReg, Mode: 0o644},
		},
		"a hard link to a file above": {{Name: "evil", Typeflag: tar.TypeLink, Linkname: "../secret"}},
		"a link to a file above, then its content": {
			{Name: "evil", Typeflag: tar.TypeSymlink, Linkname: "../secret"},
			{Name: "evil", Typeflag: tar.TypeReg, Mode: 0o644},
		},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			secret := filepath.Join(outer, "secret")
			inner := filepath.Join(outer, "inner")
			if err := errors.Join(os.WriteFile(secret, []byte("secret"), 0o600), os.Mkdir(inner, 0o755)); err != nil {
				t.Fatal(err)
			}
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, h := range entries {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
			unpackTo(t, inner, &archive)
			left, err := os.ReadDir(outer)
			if err != nil || len(left) != 2 {
				t.Errorf("outside: %v, %v", left, err)
			}
			if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
				t.Errorf("the secret is %q, %v", got, err)
			}
			if info, err := os.Stat(filepath.Join(inner, "evil")); err == nil && !info.Mode().IsRegular() {
				t.Errorf("evil is a %v", info.Mode())
			}
		})
	}
}

func TestUnpackDropsPrivileges(t *testing.T) {
	to := t.TempDir()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "su", Typeflag: tar.TypeReg, Mode: 0o6755},
		{Name: "disk", Typeflag: tar.TypeBlock, Mode: 0o666},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := unpackTo(t, to, &archive); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(to, "su")); err != nil || info.Mode() != 0o755 {
		t.Errorf("su: %v, %v", info.Mode(), err)
	}
	if _, err := os.Lstat(filepath.Join(to, "disk")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device was made: %v", err)
	}
}

func unpackTo(t *testing.T, dir string, archive *bytes.Buffer) error {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return unpack(root, archive)
}
