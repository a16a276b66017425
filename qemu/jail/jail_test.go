package jail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/qemu/jail"
)

// The test binary is also what is jailed.
func TestMain(m *testing.M) {
	switch os.Args[0] {
	case "inmate":
		inmate()
	case "idler":
		select {}
	default:
		goleak.VerifyTestMain(m)
	}
}

// A view is what an inmate sees.
type view struct {
	UID, GID, PID    int
	Groups           []int
	Effective        uint32
	NoNewPrivs       int
	Environment      []string
	Root             []string
	Interfaces       []string
	Own, Image, Zero string
	// Done has an entry for each misdeed: why it failed, or nothing if it did not.
	Done map[string]string
}

// inmate does what one that has taken over a program would, and says what came of it.
func inmate() {
	v := view{UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(), Environment: os.Environ(), Done: map[string]string{}}
	v.Groups, _ = os.Getgroups()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	unix.Capget(&header, &caps[0])
	v.Effective = caps[0].Effective | caps[0].Permitted | caps[0].Inheritable | caps[1].Effective | caps[1].Permitted
	v.NoNewPrivs, _ = unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	entries, _ := os.ReadDir("/")
	for _, e := range entries {
		v.Root = append(v.Root, e.Name())
	}
	links, _ := net.Interfaces()
	for _, l := range links {
		v.Interfaces = append(v.Interfaces, l.Name+" "+l.Flags.String())
	}
	read := func(name string) string {
		b, err := os.ReadFile(name)
		return fmt.Sprint(string(b), err)
	}
	var given struct {
		Own, Image, Zero, Secret, Socket, Address, Abstract string

		Starter, Neighbour int
	}
	json.NewDecoder(os.NewFile(3, "")).Decode(&given)
	v.Own, v.Image, v.Zero = read(given.Own), read(given.Image), fmt.Sprintf("%q", read(given.Zero))

	attempt := func(what string, f func() error) {
		if err := f(); err != nil {
			v.Done[what] = err.Error()
		} else {
			v.Done[what] = ""
		}
	}
	open := func(name string, flag int) func() error {
		return func() error {
			f, err := os.OpenFile(name, flag, 0o600)
			if err == nil {
				f.Close()
			}
			return err
		}
	}
	dial := func(network, address string) func() error {
		return func() error {
			c, err := net.Dial(network, address)
			if err == nil {
				c.Close()
			}
			return err
		}
	}
	attempt("write its own", open(given.Own, os.O_RDWR))
	attempt("write the image", open(given.Image, os.O_RDWR))
	attempt("read a secret", open(given.Secret, os.O_RDONLY))
	attempt("read a secret from above", open("/../../.."+given.Secret, os.O_RDONLY))
	attempt("list where the secret is", func() error { _, err := os.ReadDir(filepath.Dir(given.Secret)); return err })
	attempt("read the accounts", open("/etc/passwd", os.O_RDONLY))
	attempt("look at processes", open("/proc/self/status", os.O_RDONLY))
	attempt("make a file", open("/new", os.O_CREATE|os.O_WRONLY))
	attempt("make a file beside its own", open(given.Own+".new", os.O_CREATE|os.O_WRONLY))
	attempt("remove a library", func() error { return os.Remove("/usr/lib/os-release") })
	attempt("connect to a socket", dial("unix", given.Socket))
	attempt("connect to an abstract socket", dial("unix", given.Abstract))
	attempt("connect to the host", dial("tcp", given.Address))
	attempt("signal its starter", func() error { return unix.Kill(given.Starter, 0) })
	attempt("signal its neighbour", func() error { return unix.Kill(given.Neighbour, unix.SIGKILL) })
	attempt("signal all", func() error { return unix.Kill(-1, unix.SIGKILL) })
	attempt("trace", func() error { return unix.PtraceAttach(given.Neighbour) })
	attempt("become root", func() error { return unix.Setuid(0) })
	attempt("mount", func() error { return unix.Mount("none", "/usr/lib", "tmpfs", 0, "") })
	attempt("unmount", func() error { return unix.Unmount(given.Own, unix.MNT_DETACH) })
	attempt("change the root", func() error { return unix.Chroot("/") })
	attempt("make a device", func() error { return unix.Mknod("/dev/mem", unix.S_IFCHR|0o666, 0x101) })
	attempt("name the host", func() error { return unix.Sethostname([]byte("mine")) })
	json.NewEncoder(os.Stdout).Encode(v)
}

const user = 2000099999

// cell is what an inmate of this test needs.
func cell(t *testing.T) jail.Jail {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return jail.Jail{
		User: user, Dir: t.TempDir(),
		System: []string{exe, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/not/there"},
	}
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// start starts the test binary as somebody who gets told something, and returns
// what it says.
func start(t *testing.T, j jail.Jail, as string, told any) (pid int, said io.Reader) {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	defer stdout.Close()
	tell, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer tell.Close()
	defer in.Close()
	if err := json.NewEncoder(in).Encode(told); err != nil {
		t.Fatal(err)
	}
	pid, pidfd, err := j.Start(j.System[0], []string{as}, []*os.File{null, stdout, os.Stderr, tell})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(pidfd)
	return pid, out
}

// bury ends a process.
func bury(t *testing.T, pid int) {
	t.Helper()
	unix.Kill(pid, unix.SIGKILL)
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
}

// One that is jailed has what it was given, and nothing else.
func TestInmate(t *testing.T) {
	j := cell(t)
	own, image, secret := write(t, "own", "own"), write(t, "image", "image"), write(t, "secret", "secret")
	zero := filepath.Join(t.TempDir(), "zero") // on the host it is not there
	j.Write, j.Read, j.Blank = []string{own}, []string{image}, []jail.Blank{{Name: zero, Size: 3}}
	j.Devices = []string{"/dev/null", "/dev/urandom"}

	socket := filepath.Join(t.TempDir(), "s")
	abstract := fmt.Sprintf("@jail-test-%d", os.Getpid())
	addresses := map[string]string{}
	for network, address := range map[string]string{"unix": socket, "unixpacket": abstract, "tcp": "127.0.0.1:0"} {
		l, err := net.Listen(strings.TrimSuffix(network, "packet"), address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses[network] = l.Addr().String()
	}
	if err := os.Chmod(socket, 0o777); err != nil {
		t.Fatal(err)
	}
	idler, _ := start(t, cell(t), "idler", nil) // of the same user, even
	defer bury(t, idler)

	pid, said := start(t, j, "inmate", map[string]any{
		"Own": own, "Image": image, "Zero": zero, "Secret": secret,
		"Socket": socket, "Abstract": abstract, "Address": addresses["tcp"],
		"Starter": os.Getpid(), "Neighbour": idler,
	})
	defer bury(t, pid)
	var v view
	if err := json.NewDecoder(said).Decode(&v); err != nil {
		t.Fatal(err)
	}
	if v.UID != user || v.GID != user || len(v.Groups) != 0 || v.Effective != 0 || v.NoNewPrivs != 1 {
		t.Errorf("it is user %d of groups %d %v with capabilities %x, no new privileges: %d", v.UID, v.GID, v.Groups, v.Effective, v.NoNewPrivs)
	}
	if v.PID != 1 || len(v.Environment) != 0 {
		t.Errorf("it is process %d, with the environment %v", v.PID, v.Environment)
	}
	top := func(name string) string { return strings.Split(name, "/")[1] }
	for _, name := range v.Root {
		if !slices.Contains([]string{"dev", "etc", "usr", "lib", "lib64", top(own), top(j.System[0])}, name) {
			t.Errorf("it sees /%s", name)
		}
	}
	if len(v.Interfaces) != 1 || strings.Contains(v.Interfaces[0], "up") {
		t.Errorf("it has the network interfaces %v", v.Interfaces)
	}
	if v.Own != "own<nil>" || v.Image != "image<nil>" || v.Zero != `"\x00\x00\x00<nil>"` {
		t.Errorf("it reads %s, %s, %s", v.Own, v.Image, v.Zero)
	}
	for what, failed := range v.Done {
		if (failed == "") != (what == "write its own") {
			t.Errorf("%s: %q", what, failed)
		}
	}
	if len(v.Done) < 20 {
		t.Errorf("it tried only %d things: %v", len(v.Done), v.Done)
	}
	if err := unix.Kill(idler, 0); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("the secret is %q, %v", b, err)
	}
	if _, err := os.Stat(zero); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is to be in the jail only is on the host: %v", err)
	}
	if left, err := os.ReadDir(j.Dir); err != nil || len(left) != 0 {
		t.Errorf("the jail's making left %v, %v", left, err)
	}
}

// From outside, namespaces are seen to be others than ours.
func TestNamespaces(t *testing.T) {
	pid, _ := start(t, cell(t), "idler", nil)
	defer bury(t, pid)
	for _, kind := range []string{"mnt", "pid", "ipc", "uts", "net"} {
		ours, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		if err != nil || its == ours {
			t.Errorf("its %s namespace is %s, ours is %s (%v)", kind, its, ours, err)
		}
	}
}

// A jail that cannot be made says why, and leaves nothing.
func TestStartFails(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*jail.Jail)
		want  string
	}{
		{"no such file", func(j *jail.Jail) { j.Read = []string{"/not/there"} }, "stat /not/there"},
		{"no such device", func(j *jail.Jail) { j.Devices = []string{"/dev/not-there"} }, "/dev/not-there"},
		{"no program", func(j *jail.Jail) { j.System = j.System[1:] }, "no such file"},
		{"no directory", func(j *jail.Jail) { j.Dir = "/not/there" }, "root"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := cell(t)
			exe := j.System[0]
			tt.spoil(&j)
			_, _, err := j.Start(exe, []string{"idler"}, []*os.File{os.Stdin, os.Stdout, os.Stderr})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want one with %q", err, tt.want)
			}
			mounts, err := os.ReadFile("/proc/self/mounts")
			if err != nil || strings.Contains(string(mounts), j.Dir) {
				t.Errorf("a mount is left (%v)", err)
			}
		})
	}
}
