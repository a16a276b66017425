package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/guest/boot"
)

// PortName is the name of the virtio-serial port that the agent serves.
const PortName = "coppice.agent"

// Run serves the host of the guest that this process runs in, until ctx ends.
// It calls ready once, when the host's first identity was taken.
func Run(ctx context.Context, ready func()) error {
	debug.SetGCPercent(50) // memory is dearer than time in a guest
	syscall.Umask(0o022)
	port, err := openPort(ctx)
	if err != nil {
		return err
	}
	return New(Config{
		Root:   "/",
		System: kernel{},
		Cgroup: "/sys/fs/cgroup/coppice",
		Usable: boot.Usable,
		Settle: 10 * time.Second,
		Ready:  ready,
		Log:    log,
	}).Serve(ctx, port)
}

// log writes a line to the kernel's log, which takes no longer ones.
func log(format string, args ...any) {
	line := fmt.Sprintf("coppice-agent: "+format, args...)
	fmt.Fprintf(os.Stderr, "%.900s\n", line)
}

// openPort opens the port as soon as the kernel has it.
func openPort(ctx context.Context) (*port, error) {
	// The kernel announces a port before it has its name, so wait for word of
	// either. Whoever listens first and looks then misses nothing.
	events, err := listenUevents()
	if err != nil {
		return nil, err
	}
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.Close() })()
	for buf := make([]byte, 64<<10); ; {
		device, err := findPort()
		if err != nil {
			return nil, err
		}
		if device != "" {
			f, err := os.OpenFile(device, os.O_RDWR|unix.O_NONBLOCK, 0)
			if err != nil {
				return nil, err
			}
			return newPort(f)
		}
		if _, err := events.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// findPort returns the device of the port, or nothing. It does not go by
// /dev/virtio-ports, which udev makes much later.
func findPort() (string, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(name)) == PortName {
			return "/dev/" + filepath.Base(filepath.Dir(file)), nil
		}
	}
	return "", nil
}

// listenUevents returns a socket that the kernel writes to whenever a device changes.
func listenUevents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listen for devices: %w", err)
	}
	events := os.NewFile(uintptr(fd), "uevents")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		events.Close()
		return nil, fmt.Errorf("listen for devices: %w", err)
	}
	return events, nil
}

// A port is a virtio-serial port, which reads as ended while nobody has
// connected to it on the host.
type port struct {
	*os.File
	raw syscall.RawConn
}

func newPort(f *os.File) (*port, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	// This fails if the runtime cannot wait for the file: then it would spin.
	if err := f.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return &port{f, raw}, nil
}

// Read waits for data also while the port reads as ended. The kernel tells
// waiters when the host comes and goes, and the runtime tells one only of what
// is new (it waits edge-triggered), so that this sleeps until there is data.
func (p *port) Read(b []byte) (n int, err error) {
	waitErr := p.raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), b)
		for err == unix.EINTR {
			n, err = unix.Read(int(fd), b)
		}
		return n > 0 || (err != nil && err != unix.EAGAIN)
	})
	if n > 0 {
		return n, nil
	}
	if waitErr != nil {
		return 0, waitErr
	}
	if err == nil {
		err = io.ErrNoProgress // for an empty b only
	}
	return 0, err
}
