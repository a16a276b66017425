package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/sqlite"
)

// TestFullDisk holds that rows can be changed where nothing can be written any
// more: else nothing could be deleted there.
func TestFullDisk(t *testing.T) {
	dir := reflinktest.Dir(t)
	path := filepath.Join(dir, "coppice.db")
	const vms = 50
	for round := range 3 {
		db, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatalf("open %d: %v", round, err)
		}
		for n := range vms {
			id := coppice.VMID(fmt.Sprint(n))
			if round == 0 {
				err = db.InsertVM(t.Context(), vm(id, "alice"))
			} else {
				_, err = db.UpdateVM(t.Context(), id, func(vm *coppice.VM) error {
					vm.Reason = strings.Repeat("because ", round)
					return nil
				})
			}
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			fill(t, dir)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		fill(t, dir)
	}
}

// fill takes the last free block of the file system that dir is on.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "full"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	for piece := int64(1 << 34); piece >= 4096; {
		err := unix.Fallocate(int(f.Fd()), 0, end, piece)
		switch {
		case err == nil:
			end += piece
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		default:
			t.Fatal(err)
		}
	}
}
