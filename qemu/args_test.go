package qemu

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// The command line is as it was when somebody last looked at it.
func TestArguments(t *testing.T) {
	boots := coppice.Machine{
		VM: "vm", Instance: "instance", Size: coppice.Size{VCPUs: 2, MemoryMiB: 1024, DiskMiB: 16384},
		Disk: "/pool/vms/vm/disk, with a comma.raw", Memory: "/pool/vms/vm/memory",
		Boot: &coppice.Image{Kernel: "/pool/images/debian/vmlinux", Initrd: "/pool/images/debian/initrd", Cmdline: "root=/dev/vda console=ttyS0"},
	}
	continues := boots
	continues.Boot, continues.State = nil, "/pool/captures/c/state"
	tests := []struct {
		name    string
		machine coppice.Machine
		accel   Accel
		card    bool
	}{
		{"boot-tcg", boots, TCG, false},
		{"boot-kvm", boots, KVM, true},
		{"restore-tcg", continues, TCG, true},
	}
	frequency := regexp.MustCompile(`tsc_early_khz=\d+`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(arguments(tt.machine, tt.accel, "/run/vm, with a comma/console.log", tt.card), "\n") + "\n"
			got = frequency.ReplaceAllString(got, "tsc_early_khz=HOST")
			golden := filepath.Join("testdata", tt.name+".args")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("command line as expected (-) and as made (+):\n%s", diff)
			}
		})
	}
}

// A capture is restored by the hardware it was made on.
func TestHardwareIsTheSame(t *testing.T) {
	m := coppice.Machine{VM: "parent", Size: coppice.Size{VCPUs: 1, MemoryMiB: 512}, Disk: "/d", Memory: "/m", Boot: &coppice.Image{}}
	child := m
	child.VM, child.Disk, child.Boot, child.State = "child", "/e", nil, "/s"
	hardware := func(m coppice.Machine) (list []string) {
		args := arguments(m, TCG, "/console", false)
		for i, arg := range args[:len(args)-1] {
			switch arg {
			case "-machine", "-accel", "-cpu", "-smp", "-m", "-device", "-serial":
				list = append(list, arg+" "+args[i+1])
			}
		}
		return list
	}
	if diff := cmp.Diff(hardware(m), hardware(child)); diff != "" {
		t.Errorf("hardware of the parent (-) and the child (+):\n%s", diff)
	}
}

func TestRunDirectory(t *testing.T) {
	id := coppice.NewVMID()
	tests := []struct {
		runDir string
		id     coppice.VMID
		want   string // in the error; empty for none
	}{
		{"/run/coppice", id, ""},
		{"/" + strings.Repeat("x", maxSocketPath-len("/")-len(id)-len("/agent.sock")-1), id, ""},
		{"/" + strings.Repeat("x", maxSocketPath-len("/")-len(id)-len("/agent.sock")), id, fmt.Sprintf("the kernel takes %d", maxSocketPath)},
		{"/run/coppice", "../../etc", "no VM id"},
		{"/run/coppice", "", "no VM id"},
	}
	for _, tt := range tests {
		_, err := New(Config{RunDir: tt.runDir}).dir(tt.id)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q in %q: %v, want an error with %q", tt.id, tt.runDir, err, tt.want)
		}
	}
}
