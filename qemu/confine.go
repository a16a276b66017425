package qemu

import (
	"os"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/qemu/cgroup"
	"github.com/coppice-vm/coppice/qemu/jail"
	"github.com/coppice-vm/coppice/qemu/ptrace"
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

// groups returns the directories of the control group that a VM is to have, as
// far as the host has such.
func (h *Hypervisor) groups(id coppice.VMID) []string {
	host, err := h.cgroups()
	if err != nil {
		return nil
	}
	return host.Dirs("coppice-" + string(id))
}

// What a QEMU may take beyond what its guest has: as much memory again for pages
// that it changes while a frozen copy of it has them, and for its buffers and
// the translator's; a CPU for its disk; threads for its disk.
const (
	overheadBytes = 512 << 20
	overheadCPUs  = 1
	overheadTasks = 128
)

// limits returns what a machine's process may take of the host.
func (h *Hypervisor) limits(m coppice.Machine) cgroup.Limits {
	return cgroup.Limits{
		CPUs:        m.Size.VCPUs + overheadCPUs,
		MemoryBytes: 2*m.Size.MemoryMiB<<20 + overheadBytes,
		Tasks:       m.Size.VCPUs + overheadTasks,
		IOBytes:     h.ioBytes,
		Device:      m.Disk,
	}
}

// CheckTracing returns an error that says why a process cannot be the daemon of
// VMs that go on from captures, as all do that do not boot: it may not have QEMU
// make system calls. It is nil if it may.
func CheckTracing(pid int) error { return ptrace.Check(pid) }

// Limited reports which of the host's controllers bound what VMs take that are
// started by a process, and which are missing.
func Limited(pid int) (there, missing []string, err error) {
	host, err := cgroup.Find(pid)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range cgroup.Controllers {
		if host.Has(c) {
			there = append(there, c)
		} else {
			missing = append(missing, c)
		}
	}
	return there, missing, nil
}
