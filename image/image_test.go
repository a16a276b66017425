package image_test

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest"
	"github.com/coppice-vm/coppice/image"
	"github.com/coppice-vm/coppice/qemu"
)

// checks are what somebody in a VM may expect of it: scripts that succeed.
var checks = []struct{ name, script string }{
	{"everything is up", `test "$(timeout 60 systemctl is-system-running --wait)" = running`},
	{"the root can be written", `findmnt -no OPTIONS / | grep -qw rw && echo >/root/file`},
	{"/tmp is there", `test "$(stat -c %a /tmp)" = 1777`},
	{"it has its name", `test "$(hostname)" = shoot && getent hosts shoot`},
	{"it has an identity", `test "$(wc -c </etc/machine-id)" = 33 && test "$(cat /etc/coppice/instance-id)" != ""`},
	{"ssh greets a client", `ssh-keyscan -T 60 -t ed25519 localhost | grep -q "localhost ssh-ed25519"`},
	{"ssh lets in by keys only", `mkdir -p /run/sshd && sshd -T >/run/config &&
		grep -qx "permitemptypasswords no" /run/config && grep -qx "permitrootlogin without-password" /run/config`},
	{"sudo works", `test "$(sudo -n id -u)" = 0 && useradd -G sudo guest && su guest -c "sudo -n true"`},
	{"root needs no password", `su guest -c "su -c true"`}, // the user of the check before
	{"the message bus answers", `busctl --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.DBus.Peer Ping`},
	{"packages are in order", `apt-get -q check && test -z "$(dpkg --audit)"`},
	{"packages come of Debian", `test "$(grep -rh ^URIs: /etc/apt | cut -d/ -f3 | sort -u)" = deb.debian.org && test ! -e /etc/apt/sources.list`},
	{"no trace of the build", `test -z "$(grep -rl mmdebstrap /etc /var/lib/apt)" && test -z "$(ls /var/cache/apt/archives/*.deb 2>&-)"`},
	{"modules can be loaded", `modprobe overlay && grep -qw overlay /proc/filesystems`},
	{"device nodes for modules", `test -c /dev/net/tun && test -c /dev/fuse && test -c /dev/loop-control`},
	{"udev knows the disk", `test -b /dev/disk/by-label/root`},
	{"the journal can be read", `journalctl -q -b | grep -q "Linux version"`},
	{"the kernel is not marred", `test "$(cat /proc/sys/kernel/tainted)" = 0`},
	{"file systems of the kernel", `for fs in cgroup2 debugfs devpts hugetlbfs mqueue tracefs; do
		test "$(findmnt -t $fs -no TARGET | wc -l)" = 1 || { findmnt -t $fs; exit 1; }; done`},
	{"fstab is honoured", `echo "none /mnt tmpfs size=1m" >/etc/fstab && systemctl daemon-reload && systemctl start mnt.mount && findmnt -t tmpfs /mnt`},
	{"names are asked of the host", `grep -qx "nameserver ` + coppice.GuestRouter.String() + `" /etc/resolv.conf`},
	{"tools", `for t in git curl python3 rsync vi less ip ps file; do command -v $t || exit 1; done`},
	{"a shell one likes", `test "$(bash -lic 'type -t ll; echo $LANG' 2>&-)" = "alias` + "\n" + `C.UTF-8"`},
}

// TestGuest boots the real image twice.
func TestGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("building and booting an image is not short")
	}
	if os.Geteuid() != 0 {
		t.Skip("building an image needs root")
	}
	for _, program := range []string{"mmdebstrap", "mkfs.ext4", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s", program)
		}
	}
	h := newHost(t)

	session, run := h.start()
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			if code, out := execute(t, session, check.script); code != 0 {
				t.Errorf("%s\nends with status %d: %s", check.script, code, out)
			}
		})
	}
	console, err := h.Console(t.Context(), h.machine.VM)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Linux version", "basic.target"} {
		if !bytes.Contains(console, []byte(want)) {
			t.Errorf("the console does not show %q:\n%s", want, console)
		}
	}
	if err := session.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.ends(run, coppice.ExitPowerOff)

	session, run = h.start()
	for _, script := range []string{
		`test "$(timeout 60 systemctl is-system-running --wait)" = running`,
		`findmnt -t tmpfs /mnt`, // of the fstab that was written before
		`! dmesg | grep -iE "EXT4.*(recover|orphan|error)"`,
	} {
		if code, out := execute(t, session, script); code != 0 {
			t.Errorf("after a second boot %s\nends with status %d: %s", script, code, out)
		}
	}
	if code, out := execute(t, session, "systemctl reboot"); code != 0 {
		t.Fatalf("systemctl reboot: %d: %s", code, out)
	}
	h.ends(run, coppice.ExitReboot)
}

// A host has one VM, whose disk is the image's.
type host struct {
	*qemu.Hypervisor
	t       *testing.T
	log     *slog.Logger
	machine coppice.Machine
}

func newHost(t *testing.T) *host {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	cache := filepath.Join(cmp.Or(os.Getenv("COPPICE_CACHE"), "/var/cache/coppice"), "images")
	builder := image.Builder{CacheDir: cache, Log: log}
	base, err := builder.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	agent := filepath.Join(dir, "agent")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", agent, "../cmd/coppice-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(agent)
	if err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(dir, "image")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	img, err := base.Install(t.Context(), binary, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []*string{&img.Disk, &img.Kernel, &img.Initrd} {
		*name = filepath.Join(files, *name)
	}

	size := coppice.Size{VCPUs: 1, MemoryMiB: 1024, DiskMiB: img.DiskMiB}
	memory := filepath.Join(dir, "memory")
	if err := os.WriteFile(memory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(memory, size.MemoryMiB<<20); err != nil {
		t.Fatal(err)
	}
	h := &host{
		Hypervisor: qemu.New(qemu.Config{RunDir: filepath.Join(dir, "run"), Log: log}),
		t:          t,
		log:        log,
		machine:    coppice.Machine{VM: coppice.NewVMID(), Size: size, Disk: img.Disk, Memory: memory, Boot: &img},
	}
	t.Cleanup(h.Close)
	return h
}

// start boots the VM and returns when commands can be run in it.
func (h *host) start() (coppice.Session, coppice.Run) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
	defer cancel()
	h.machine.Instance = coppice.NewInstanceID()
	run, err := h.Start(ctx, h.machine)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { run.Kill(context.Background()) })
	session, err := guest.New(h.log).Connect(ctx, run.DialAgent, coppice.GuestIdentity{
		VM: h.machine.VM, Instance: h.machine.Instance, Hostname: "shoot", Fresh: true,
	})
	if err != nil {
		console, _ := h.Console(context.Background(), h.machine.VM)
		h.t.Fatalf("%v\n%s", err, console)
	}
	h.t.Cleanup(func() { session.Close() })
	return session, run
}

// ends waits for the end of a run, which is to be of that kind.
func (h *host) ends(run coppice.Run, kind coppice.ExitKind) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
	defer cancel()
	if exit, err := run.Wait(ctx); err != nil || exit.Kind != kind {
		h.t.Errorf("the run ended with %+v, %v, want %s", exit, err, kind)
	}
	if err := run.Kill(ctx); err != nil {
		h.t.Error(err)
	}
}

// execute runs a script as root, and returns its status and all it has printed.
func execute(t *testing.T, session coppice.Session, script string) (code int, output string) {
	t.Helper()
	var out strings.Builder
	status, err := session.Exec(t.Context(), coppice.ExecSpec{Command: script, Timeout: 2 * time.Minute},
		coppice.Stdio{Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return status.Code, out.String()
}
