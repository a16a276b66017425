package lifecycle_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// shape is what a test looks at of a branch.
type shape struct {
	Deleted        bool
	Memory         bool // there is a process
	DiskOwn, Store int64
}

// shapes returns an account's tree, by the ids in it.
func (h *host) shapes(account coppice.AccountID) map[string]shape {
	h.t.Helper()
	tree, err := h.Tree(h.t.Context(), account)
	if err != nil {
		h.t.Fatal(err)
	}
	shapes := map[string]shape{}
	for _, b := range tree {
		s := shape{Memory: b.Memory != nil, DiskOwn: b.Disk.Own, Store: b.Disk.Own + b.Disk.Shared}
		if b.VM != nil {
			s.Deleted = b.VM.Deleted()
			shapes[string(b.VM.ID)] = s
		} else {
			shapes[string(b.Snapshot.ID)] = s
		}
	}
	return shapes
}

// What is in a tree, and who is charged for what. Of the files in memory a block
// is what was written at a time, captures copy, and a machine's devices are 7 bytes.
func TestTree(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	if got := h.shapes(alice); len(got) != 0 {
		t.Errorf("nobody has %+v", got)
	}
	parent := h.create()
	h.hv.Poke(parent.ID, []byte("0123456789"))
	if err := h.pool.WriteFile(h.pool.VM(parent.ID).Disk, []byte("disk")); err != nil {
		t.Fatal(err)
	}
	const captured = 10 + 7 + 4
	only := h.fork(parent.ID, coppice.ForkSpec{Count: 1})[0]
	twins := h.fork(parent.ID, coppice.ForkSpec{Count: 2})
	snapshot, err := h.TakeSnapshot(ctx, alice, parent.ID, "", coppice.Persistence{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]shape{
		string(parent.ID):   {Memory: true, DiskOwn: 4, Store: 4 + 7},           // with the devices of what it began as, which is the host's
		string(only.ID):     {Memory: true, DiskOwn: captured, Store: captured}, // nobody else needs its capture
		string(twins[0].ID): {Memory: true, Store: captured},
		string(twins[1].ID): {Memory: true, Store: captured},
		string(snapshot.ID): {DiskOwn: captured, Store: captured},
	}
	if diff := cmp.Diff(want, h.shapes(alice)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	// The parent stays as long as something comes from it; a suspended VM has no process.
	h.must(h.Delete(ctx, alice, parent.ID))
	h.must(h.Delete(ctx, alice, twins[0].ID))
	h.must(h.Suspend(ctx, alice, only.ID))
	want = map[string]shape{
		string(parent.ID):   {Deleted: true},
		string(only.ID):     {DiskOwn: captured + 4, Store: captured + 4}, // its disk is a copy of the captured one
		string(twins[1].ID): {Memory: true, DiskOwn: captured, Store: captured},
		string(snapshot.ID): {DiskOwn: captured, Store: captured},
	}
	if diff := cmp.Diff(want, h.shapes(alice)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, id := range []coppice.VMID{only.ID, twins[1].ID} {
		h.must(h.Delete(ctx, alice, id))
	}
	if err := h.DeleteSnapshot(ctx, alice, snapshot.ID); err != nil {
		t.Fatal(err)
	}
	if got := h.shapes(alice); len(got) != 0 {
		t.Errorf("nothing is left, and there is %+v", got)
	}
}
