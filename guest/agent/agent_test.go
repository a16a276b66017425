package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNameInHosts(t *testing.T) {
	for _, test := range []struct{ name, hosts, want string }{
		{"none", "", "127.0.1.1\toak\n"},
		{"not there", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n127.0.1.1\toak\n"},
		{"no newline", "127.0.0.1 localhost", "127.0.0.1 localhost\n127.0.1.1\toak\n"},
		{"another's", "127.0.1.1 elm elm.example\n::1 localhost\n", "127.0.1.1\toak\n::1 localhost\n"},
		{"twice", "  127.0.1.1\tone\n127.0.1.1 two", "127.0.1.1\toak\n"},
		{"as it is", "127.0.1.1\toak\n", "127.0.1.1\toak\n"},
		{"longer address", "127.0.1.12 twelve\n", "127.0.1.12 twelve\n127.0.1.1\toak\n"},
	} {
		if got := nameInHosts(test.hosts, "oak"); got != test.want {
			t.Errorf("%s: %q became %q, want %q", test.name, test.hosts, got, test.want)
		}
	}
}

func TestLookUp(t *testing.T) {
	a := New(Config{Root: t.TempDir()})
	must(t, os.Mkdir(a.path("etc"), 0o755))
	must(t, os.WriteFile(a.path("etc/passwd"), []byte(
		"# a comment\nroot:x:0:0:root:/root:/bin/bash\nbroken:x:1\nnegative:x:-1:1::/:/bin/sh\n"+
			"bob:x:1234:1001:Bob,,,:/home/bob:/bin/sh\n1000:x:7:7::relative:/bin/sh\ntwin:x:1234:1002::/:/bin/sh"), 0o644))
	must(t, os.WriteFile(a.path("etc/group"), []byte("root:x:0:\nsudo:x:27:alice,bob\nbobby:x:28:bobby\nbroken\nlast:x:29:bob"), 0o644))
	bob := user{name: "bob", uid: 1234, gid: 1001, groups: []uint32{27, 29}, home: "/home/bob", shell: "/bin/sh"}
	for who, want := range map[string]user{
		"":     {name: "root", home: "/root", shell: "/bin/bash"},
		"root": {name: "root", home: "/root", shell: "/bin/bash"},
		"0":    {name: "root", home: "/root", shell: "/bin/bash"},
		"bob":  bob,
		"1000": {name: "1000", uid: 7, gid: 7, home: "/", shell: "/bin/sh"},
		"1234": bob,
		"twin": {name: "twin", uid: 1234, gid: 1002, home: "/", shell: "/bin/sh"},
		"7":    {name: "1000", uid: 7, gid: 7, home: "/", shell: "/bin/sh"},
	} {
		got, err := a.lookUp(who)
		must(t, err)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(user{})); diff != "" {
			t.Errorf("%q as wanted (-) and as found (+):\n%s", who, diff)
		}
	}
	for _, who := range []string{"broken", "negative", "alice", "-1", "x", "bob ", "# a comment"} {
		if u, err := a.lookUp(who); !errors.Is(err, coppice.ErrNoUser) {
			t.Errorf("%q is %+v, %v, want ErrNoUser", who, u, err)
		}
	}
}

// A port reads as ended while there is no host, as a named pipe does that
// nobody has open for writing.
func TestPortOutlivesItsHost(t *testing.T) {
	name := filepath.Join(t.TempDir(), "port")
	must(t, unix.Mkfifo(name, 0o600))
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	must(t, err)
	p, err := newPort(f)
	must(t, err)
	type result struct {
		data string
		err  error
	}
	results := make(chan result)
	go func() {
		for buf := make([]byte, 10); ; {
			n, err := p.Read(buf)
			results <- result{string(buf[:n]), err}
			if err != nil {
				return
			}
		}
	}()
	for _, word := range []string{"one", "two", "three"} {
		host, err := os.OpenFile(name, os.O_WRONLY, 0)
		must(t, err)
		_, err = host.WriteString(word)
		must(t, err)
		if got := <-results; got.data != word || got.err != nil {
			t.Errorf("read %q, %v, want %q", got.data, got.err, word)
		}
		must(t, host.Close())
	}
	must(t, p.SetDeadline(time.Unix(1, 0)))
	if got := <-results; !errors.Is(got.err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %q, %v", got.data, got.err)
	}
	must(t, p.Close())
}

func TestExt4Size(t *testing.T) {
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	must(t, err)
	defer disk.Close()
	if _, _, err := ext4Size(disk); err == nil {
		t.Error("an empty file has a file system")
	}
	for _, features := range []string{"64bit", "^64bit"} {
		must(t, disk.Truncate(0))
		must(t, disk.Truncate(100<<20))
		if out, err := exec.Command("mkfs.ext4", "-q", "-O", features, "-b", "4096", disk.Name(), "80M").CombinedOutput(); err != nil {
			t.Fatalf("mkfs.ext4: %v: %s", err, out)
		}
		blocks, blockSize, err := ext4Size(disk)
		if err != nil || blocks != 80<<20/4096 || blockSize != 4096 {
			t.Errorf("with %s: %d blocks of %d, %v", features, blocks, blockSize, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
