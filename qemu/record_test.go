package qemu

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/coppice-vm/coppice"
)

// A daemon that dies, or finds no space, while it writes a record leaves the
// one that was there, and nothing that is anybody's.
func TestRecord(t *testing.T) {
	d := runDir(filepath.Join(t.TempDir(), string(coppice.NewVMID())))
	if err := os.Mkdir(string(d), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.writeRecord(record{Machine: coppice.Machine{Disk: "a"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.draft(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := d.readRecord(); err != nil || r.Disk != "a" {
		t.Errorf("the record is %+v, %v", r, err)
	}
	for _, trace := range d.traces() {
		if trace.Kind != coppice.TraceRecord {
			t.Errorf("there is %+v", trace)
		}
	}
	if err := d.amendRecord(coppice.Machine{Disk: "b"}); err != nil {
		t.Fatal(err)
	}
	if r, err := d.readRecord(); err != nil || r.Disk != "b" {
		t.Errorf("amended, the record is %+v, %v", r, err)
	}
	if err := os.WriteFile(d.draft(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(Config{RunDir: filepath.Dir(string(d))}).clear(d); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(string(d)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
