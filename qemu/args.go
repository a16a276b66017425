package qemu

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/tsc"
)

// machine is the machine type of every VM: virtio over memory-mapped I/O and
// no PCI. It saves its devices and starts faster than q35.
const machine = "microvm,memory-backend=ram,rtc=on"

// translatorMiB bounds the translator's cache of one VM. It is filled sooner
// or later, so it is memory that every emulated VM costs.
const translatorMiB = 64

// agentPort is the name of the agent's virtio-serial port, as guests see it.
const agentPort = "coppice.agent"

// networkCard is the device that is a guest's network card.
const networkCard = "virtio-net-device"

// powerOffTrace is what QEMU logs when the guest powers off, and does not when
// it asks for a reset: the event may find nobody listening.
const powerOffTrace = "qemu_system_shutdown_request"

// Descriptors that QEMU inherits: always, and the last where there is a network.
const (
	qmpFD   = 3
	agentFD = 4
	tapFD   = 5 // the host's end of the network card
)

// sandbox is what QEMU forbids itself once it runs.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// arguments returns QEMU's command line for a machine, without the program's
// name. A guest begins paused; a machine that does not boot waits to be given
// what it continues. What describes the hardware must be the same when a
// capture is made and when it is restored.
func arguments(m coppice.Machine, accel Accel, console string, networked bool) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-sandbox", sandbox,
		"-name", string(m.VM),
		"-machine", machine,
	}
	if accel == KVM {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		args = append(args, "-accel", fmt.Sprintf("tcg,tb-size=%d", translatorMiB), "-cpu", "max")
	}
	args = append(args,
		"-smp", fmt.Sprint(m.Size.VCPUs),
		"-m", fmt.Sprintf("%dM", m.Size.MemoryMiB),
		// A private mapping of the VM's own file, or of the one that stands in for
		// a capture's: QEMU opens it for writing; only 8.2 and newer can be told
		// not to. Nothing here punches holes in RAM, so there is no balloon.
		"-object", asJSON(map[string]any{
			"qom-type": "memory-backend-file", "id": "ram", "size": m.Size.MemoryMiB << 20,
			"mem-path": m.Memory, "share": false,
		}),
		// Errors keep QEMU's defaults: a full pool pauses the guest and loses nothing.
		"-blockdev", asJSON(map[string]any{
			"node-name": "disk", "driver": "raw", "discard": "unmap", "cache": map[string]any{"direct": true},
			"file": map[string]any{
				"driver": "file", "filename": m.Disk, "aio": "threads",
				"discard": "unmap", "cache": map[string]any{"direct": true},
			},
		}),
		"-device", "virtio-blk-device,drive=disk",
		"-device", "virtio-rng-device",
		"-device", "virtio-serial-device",
		"-chardev", fmt.Sprintf("socket,id=agent,fd=%d,server=on,wait=off", agentFD),
		"-device", "virtserialport,id=agent-port,chardev=agent,name="+agentPort, // with an id it has events
		"-chardev", "file,id=console,append=on,path="+strings.ReplaceAll(console, ",", ",,"),
		"-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", qmpFD),
		"-mon", "chardev=qmp,mode=control",
		// A guest that ends stays there, paused, until it has been asked how it ended.
		"-action", "reboot=shutdown,shutdown=pause",
		"-trace", powerOffTrace,
		"-S",
	)
	if networked {
		args = append(args, "-netdev", fmt.Sprintf("tap,id=net,fd=%d", tapFD), "-device", networkCard+",netdev=net,mac="+coppice.GuestMAC)
	}
	if m.Boot != nil {
		return append(args, "-kernel", m.Boot.Kernel, "-initrd", m.Boot.Initrd, "-append", cmdline(m.Boot.Cmdline, accel))
	}
	// What xen-save-devices-state writes has no configuration section.
	return append(args, "-global", "migration.send-configuration=off", "-incoming", "defer")
}

// cmdline returns the kernel's command line: the image's, and for an emulated
// guest what makes it boot at all and run well.
//
// The guest has the host's time stamp counter, and to calibrate it nothing but
// a timer that is too slow to read while the translator is cold: it is told
// the frequency, or half of the boots would hang. Nor may it lose trust in the
// counter when the host is busy. Its programs are not placed at random: QEMU
// cannot share translated code between addresses, and running anything would
// take twice as long.
func cmdline(image string, accel Accel) string {
	if accel == KVM {
		return image
	}
	return fmt.Sprintf("%s tsc=reliable tsc_early_khz=%d norandmaps", image, tsc.KHz())
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return string(b)
}
