package sqlite_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

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
			reflinktest.Fill(t, dir)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		reflinktest.Fill(t, dir)
	}
}
