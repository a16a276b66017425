package qemu

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// A log that is appended to stays readable at its end, and small on the disk.
func TestTrim(t *testing.T) {
	name := filepath.Join(t.TempDir(), "console.log")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all bytes.Buffer
	for i := range 8 {
		chunk := bytes.Repeat([]byte{byte('a' + i)}, 300_000)
		all.Write(chunk)
		if _, err := f.Write(chunk); err != nil {
			t.Fatal(err)
		}
		if err := trim(name, consoleBytes); err != nil {
			t.Fatal(err)
		}
	}
	got, err := tail(name, consoleBytes)
	if err != nil || !bytes.Equal(got, all.Bytes()[all.Len()-consoleBytes:]) {
		t.Errorf("the last MiB is %d bytes of something else, %v", len(got), err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(name, &stat); err != nil {
		t.Fatal(err)
	}
	if used := stat.Blocks * 512; used > consoleBytes+64<<10 {
		t.Errorf("%d bytes are on the disk", used)
	}
}

func TestMissedExit(t *testing.T) {
	tests := []struct{ log, want string }{
		{"", guestReset},
		{"qemu_system_shutdown_request reason=6\n", guestShutdown},
		{"qemu: warning: something\nqemu_system_shutdown_request reason=6\nExpected vmdescription section\n", guestShutdown},
	}
	for _, tt := range tests {
		d := runDir(t.TempDir())
		if err := os.WriteFile(d.qemuLog(), []byte(tt.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := d.missedExit(); got != tt.want {
			t.Errorf("%q means %s, want %s", tt.log, got, tt.want)
		}
		if said := d.complaint(); strings.Contains(said, powerOffTrace) || strings.Contains(said, undescribed) {
			t.Errorf("what QEMU always says is taken for a complaint: %s", said)
		}
	}
}

func TestPanicLine(t *testing.T) {
	d := runDir(t.TempDir())
	begin := func(id coppice.InstanceID) {
		t.Helper()
		if err := d.beginConsole(coppice.Machine{Instance: id}); err != nil {
			t.Fatal(err)
		}
	}
	write := func(text string) {
		t.Helper()
		old, _ := os.ReadFile(d.console())
		if err := os.WriteFile(d.console(), append(old, text...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(id coppice.InstanceID, want string) {
		t.Helper()
		console, err := os.ReadFile(d.console())
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := panicLine(sinceRun(console, id)); got != want || ok != (want != "") {
			t.Errorf("run %s: %q, want %q", id, got, want)
		}
	}
	begin("one")
	write("[ 1.0] Kernel panic - not syncing: no working init found\r\n[ 1.1] CPU: 0\r\n")
	check("one", "Kernel panic - not syncing: no working init found")
	begin("two")
	write("[ 1.0] reboot: Restarting system\r\n")
	check("two", "")
	check("forgotten", "Kernel panic - not syncing: no working init found")
	begin("three")
	write("Kernel panic - not syncing: " + strings.Repeat("ä", 1000))
	check("three", "Kernel panic - not syncing: "+strings.Repeat("ä", 300-28))
}
