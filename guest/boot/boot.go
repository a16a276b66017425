// Package boot is process 1 of a guest's initrd: it loads the drivers, sets up
// the network, mounts the root disk, starts the agent, and becomes the guest's
// own init.
//
// The agent is there before init and after it, so that the host can always
// reach it. It runs inside the root that init will have, but from the initrd's
// binary, so that it keeps nothing of the disk busy, and under a name that
// begins with '@', which tells systemd to spare it at shutdown. Init starts
// only when the host has told the agent who this guest is (or has not in time):
// then init finds the machine id, the host name and the keys in place.
//
// A guest is [Usable] when its init would let people log in.
package boot

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ModuleList is the file of the initrd that names the kernel modules to
	// load, one a line, in the order to load them.
	ModuleList = "/modules.order"
	// ReadyFD is the descriptor the agent writes a byte to, and closes, when
	// the host's first identity has been applied.
	ReadyFD = 3

	rootDisk = "/dev/vda"
	newRoot  = "/newroot"
	// identityDeadline is how long init waits for the host to say who the guest is.
	identityDeadline = 3 * time.Second
)

// Run turns process 1 of the initrd into the guest's init. It returns only if
// it fails. The end of process 1 is then a kernel panic, which the host sees.
func Run() error {
	if err := mountKernel(); err != nil {
		return err
	}
	if err := loadModules(ModuleList); err != nil {
		return err
	}
	if err := setUpNetwork(); err != nil {
		// A guest without a network can still be reached by its agent.
		fmt.Fprintln(os.Stderr, "network:", err)
	}
	if err := mountRoot(); err != nil {
		return err
	}
	if err := prepareRun(newRoot); err != nil {
		return fmt.Errorf("prepare /run: %w", err)
	}
	// The limits that systemd gives to services, for what the agent starts.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1024, Max: 512 << 10}); err != nil {
		return err
	}
	if err := startAgent(); err != nil {
		// A guest without its agent still has a console to tell what is wrong.
		fmt.Fprintln(os.Stderr, "coppice-agent:", err)
	}
	if err := switchRoot(); err != nil {
		return err
	}
	// The kernel has handed on what of its command line it did not know.
	err := unix.Exec("/sbin/init", append([]string{"/sbin/init"}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("run the guest's init: %w", err)
}

// startAgent runs this binary once more, as the agent, and returns when the
// agent has its identity or the deadline has passed.
func startAgent() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	null, err := os.Open(newRoot + os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	log, err := os.OpenFile(newRoot+"/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer log.Close()

	agent := &exec.Cmd{
		Path:        "/proc/self/exe", // of the initrd, though looked up inside the root
		Args:        []string{"@coppice-agent"},
		Dir:         "/",
		Env:         []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"},
		Stdin:       null,
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  []*os.File{ReadyFD - 3: w},
		SysProcAttr: &syscall.SysProcAttr{Chroot: newRoot, Setsid: true},
	}
	if err := agent.Start(); err != nil {
		return err
	}
	w.Close() // so that an agent that dies is not waited for
	if err := r.SetReadDeadline(time.Now().Add(identityDeadline)); err != nil {
		return err
	}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("init does not wait longer for the guest's identity: %w", err)
	}
	return nil
}
