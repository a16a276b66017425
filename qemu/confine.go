package qemu

import (
	"os"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/qemu/jail"
)

// What QEMU needs of the host: libraries and firmware, and devices that anybody may use.
var (
	systemFiles = []string{
		"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/qemu", "/usr/share/seabios",
	}
	systemDevices = []string{"/dev/null", "/dev/urandom"}
)

// jail returns what a QEMU is confined to. All that a guest could get hold of
// by taking over its QEMU is in there: its own disk and console, and the image
// it boots or a file of zeroes where the memory of a capture will be, which is
// given to it as a descriptor that cannot be written to.
func (h *Hypervisor) jail(m coppice.Machine, dir runDir, binary string) (jail.Jail, error) {
	user, err := h.users.of(dir)
	if err != nil {
		return jail.Jail{}, err
	}
	console, err := os.OpenFile(dir.console(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return jail.Jail{}, err
	}
	console.Close()
	j := jail.Jail{
		User: user, Dir: string(dir),
		System:  append([]string{binary}, systemFiles...),
		Devices: systemDevices,
		Write:   []string{m.Disk, dir.console()},
	}
	if h.accel == KVM {
		j.Devices = append([]string{kvmDevice}, systemDevices...)
	}
	if m.Boot != nil {
		j.Read = []string{m.Boot.Kernel, m.Boot.Initrd}
		j.Write = append(j.Write, m.Memory)
	} else {
		j.Blank = []jail.Blank{{Name: m.Memory, Size: m.Size.MemoryMiB << 20}}
	}
	return j, nil
}
