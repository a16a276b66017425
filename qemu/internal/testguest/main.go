// Command testguest is process 1 of the guests that package qemu is tested
// with: it loads the drivers of the initrd it is in and answers the requests
// of package examguest on the agent's port.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/examguest"
)

func main() {
	fmt.Println("testguest:", run())
	os.Exit(1) // the end of process 1 is a kernel panic, which the test sees
}

// run returns only what went wrong.
func run() error {
	for target, fstype := range map[string]string{"/dev": "devtmpfs", "/proc": "proc", "/sys": "sysfs"} {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fstype, target, fstype, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	if err := loadModules("/modules.order"); err != nil {
		return err
	}
	name, err := agentPort("coppice.agent")
	if err != nil {
		return err
	}
	port, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	fmt.Println("testguest: ready")
	m := &machine{}
	for {
		if err := examguest.Serve(port, m); err != nil {
			fmt.Println("testguest:", err)
		}
		// The port reads as ended while the host is not connected.
		time.Sleep(20 * time.Millisecond)
	}
}

func loadModules(list string) error {
	b, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(b)) {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

// agentPort waits for the virtio-serial port of that name.
func agentPort(want string) (string, error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, name := range names {
			if b, _ := os.ReadFile(name); strings.TrimSpace(string(b)) == want {
				return filepath.Join("/dev", filepath.Base(filepath.Dir(name))), nil
			}
		}
	}
	return "", fmt.Errorf("there is no port %q", want)
}

const (
	diskName = "/dev/vda"
	diskAt   = 1 << 20 // behind whatever the disk begins with
	diskLen  = 4096
)

type machine struct {
	kept  string
	dirty []byte
}

// Keep keeps a value. "dirty N" keeps N MiB of memory written as well.
func (m *machine) Keep(value string) error {
	if n, ok := strings.CutPrefix(value, "dirty "); ok {
		mib, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		m.dirty = make([]byte, mib<<20)
		for i := 0; i < len(m.dirty); i += 4096 {
			m.dirty[i], m.dirty[i+1] = byte(i>>12), 1
		}
	}
	m.kept = value
	return nil
}

func (m *machine) Kept() (string, error) { return m.kept, nil }

// Write writes a value. "fill N" writes N MiB after it as well.
func (m *machine) Write(value string) error {
	f, err := os.OpenFile(diskName, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, diskLen)
	copy(block, value)
	if n, ok := strings.CutPrefix(value, "fill "); ok {
		mib, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		fill := bytes.Repeat([]byte{1}, 1<<20)
		for i := range mib {
			if _, err := f.WriteAt(fill, int64(2+i)<<20); err != nil {
				return err
			}
		}
	}
	if _, err := f.WriteAt(block, diskAt); err != nil {
		return err
	}
	return f.Sync()
}

func (m *machine) Read() (string, error) {
	f, err := os.Open(diskName)
	if err != nil {
		return "", err
	}
	defer f.Close()
	block := make([]byte, diskLen)
	if _, err := io.ReadFull(io.NewSectionReader(f, diskAt, diskLen), block); err != nil {
		return "", err
	}
	return strings.TrimRight(string(block), "\x00"), nil
}

func (m *machine) Print(line string) error {
	_, err := fmt.Println(line)
	return err
}

func (m *machine) PowerOff() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }

func (m *machine) Reboot() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) }

func (m *machine) Panic() error { return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0) }
