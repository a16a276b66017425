package image

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice/guest/boot"
)

// unpack reads archives one after the other, as the kernel does.
func unpack(t *testing.T, archive []byte) (entries []cpioEntry) {
	t.Helper()
	for at := 0; at < len(archive); {
		header := archive[at:]
		if len(header) < 110 || string(header[:6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(header[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		up := func(n int) int { return (n + 3) &^ 3 }
		nameSize, size := field(11), field(6)
		name := header[110 : 110+nameSize]
		if name[nameSize-1] != 0 {
			t.Fatalf("the name %q does not end", name)
		}
		data := at + up(110+nameSize)
		at = up(data + size)
		if string(name) == "TRAILER!!!\x00" {
			continue
		}
		entries = append(entries, cpioEntry{
			name: string(name[:nameSize-1]), mode: uint32(field(1)),
			major: uint32(field(9)), minor: uint32(field(10)),
			data: archive[data : data+size],
		})
	}
	return entries
}

var compareEntries = cmp.AllowUnexported(cpioEntry{})

func TestCPIO(t *testing.T) {
	var want []cpioEntry
	for n := range 9 { // every alignment of names and of contents
		want = append(want, cpioEntry{
			name: strings.Repeat("n", n+1), mode: cpioFile | 0o644, data: bytes.Repeat([]byte{byte(n)}, 3*n+1),
		})
	}
	want = append(want,
		cpioEntry{name: "dev", mode: cpioDir | 0o755, data: []byte{}},
		cpioEntry{name: "dev/console", mode: cpioChar | 0o600, major: 5, minor: 1, data: []byte{}},
	)
	if diff := cmp.Diff(want, unpack(t, cpio(want)), compareEntries); diff != "" {
		t.Error(diff)
	}
}

const (
	testDep = `kernel/virtio/virtio.ko: kernel/virtio/virtio_ring.ko
kernel/virtio/virtio_ring.ko:
kernel/virtio/virtio_mmio.ko: kernel/virtio/virtio.ko kernel/virtio/virtio_ring.ko
kernel/net/virtio_net.ko: kernel/net/net_failover.ko kernel/net/failover.ko kernel/virtio/virtio.ko kernel/virtio/virtio_ring.ko
kernel/net/net_failover.ko: kernel/net/failover.ko
kernel/net/failover.ko:
kernel/char/virtio-rng.ko: kernel/virtio/virtio.ko kernel/virtio/virtio_ring.ko
`
	testBuiltin = "kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c-generic.ko\n"
)

func TestModuleOrder(t *testing.T) {
	for name, test := range map[string]struct {
		modules []string
		want    []string
		err     string
	}{
		"alone":           {modules: []string{"failover"}, want: []string{"kernel/net/failover.ko"}},
		"after its needs": {modules: []string{"virtio_mmio"}, want: []string{"kernel/virtio/virtio_ring.ko", "kernel/virtio/virtio.ko", "kernel/virtio/virtio_mmio.ko"}},
		"each once": {modules: []string{"virtio_rng", "virtio_net", "virtio"}, want: []string{
			"kernel/virtio/virtio_ring.ko", "kernel/virtio/virtio.ko", "kernel/char/virtio-rng.ko",
			"kernel/net/failover.ko", "kernel/net/net_failover.ko", "kernel/net/virtio_net.ko",
		}},
		"built in": {modules: []string{"ext4", "crc32c_generic", "failover"}, want: []string{"kernel/net/failover.ko"}},
		"unknown":  {modules: []string{"failover", "virtio_magic"}, err: "no module virtio_magic"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := moduleOrder(testDep, testBuiltin, test.modules)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error is %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInitrd(t *testing.T) {
	tree := t.TempDir()
	var dep strings.Builder
	for _, name := range drivers {
		file := "kernel/" + name + ".ko"
		fmt.Fprintf(&dep, "%s: kernel/ring.ko\n", file)
		write(t, filepath.Join(tree, file), "driver "+name)
	}
	dep.WriteString("kernel/ring.ko:\n")
	write(t, filepath.Join(tree, "kernel/ring.ko"), "ring")
	write(t, filepath.Join(tree, "modules.dep"), dep.String())
	write(t, filepath.Join(tree, "modules.builtin"), "")

	archive, err := driverArchive(tree)
	if err != nil {
		t.Fatal(err)
	}
	entries := unpack(t, initrd([]byte("agent"), archive))
	var content = map[string]string{}
	for _, e := range entries {
		content["/"+e.name] = string(e.data)
	}
	if content["/init"] != "agent" {
		t.Errorf("/init is %q", content["/init"])
	}
	listed := strings.Split(strings.TrimSuffix(content[boot.ModuleList], "\n"), "\n")
	if len(listed) != len(drivers)+1 {
		t.Errorf("the list has %d modules: %q", len(listed), listed)
	}
	for i, name := range listed {
		want := "ring"
		if i > 0 {
			want = "driver " + drivers[i-1]
		}
		if content[name] != want {
			t.Errorf("module %d is %s with %q, want %q", i, name, content[name], want)
		}
	}
}

// write makes a file with its directories.
func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
