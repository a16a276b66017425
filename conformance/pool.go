package conformance

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// A PoolUnderTest is a pool with what its exam needs around it.
type PoolUnderTest struct {
	coppice.Pool
	// Image is installed in the pool. Its disk has 1 MiB and starts with something other than zeroes.
	Image coppice.Image
	Files PoolFiles
}

// PoolFiles reaches into a pool's files, as a run does.
type PoolFiles interface {
	// WriteFile gives a file new content from its start on, making it if need
	// be, keeping its size if that is larger.
	WriteFile(name string, content []byte) error
	// ReadFile returns the start of a file, up to its last byte that is not
	// zero at least, and its size.
	ReadFile(name string) (start []byte, size int64, err error)
}

// TestPool examines a pool. open returns a new one that has nothing but the image, and cleans up by t.
func TestPool(t *testing.T, open func(t *testing.T) PoolUnderTest) {
	tests := []struct {
		name string
		test func(*testing.T, PoolUnderTest)
	}{
		{"knows its images", poolImages},
		{"creates a VM", poolCreatesVM},
		{"replaces an earlier attempt", poolReplacesVM},
		{"makes nothing of a missing disk", poolMissingDisk},
		{"resizes a VM", poolResizesVM},
		{"removes a VM", poolRemovesVM},
		{"keeps what was committed", poolCommitsCapture},
		{"drops what was only begun", poolDropsBegunCapture},
		{"trims a capture", poolTrimsCapture},
		{"clones into a capture", poolClones},
		{"clones disks that go their own ways", poolClonesAreApart},
		{"measures what is shared", poolMeasures},
		{"tells what is there", poolTraces},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(t, open(t)) })
	}
}

const mib = 1 << 20

func poolImages(t *testing.T, p PoolUnderTest) {
	got, err := p.Pool.Image(t.Context(), p.Image.ID)
	must(t, err)
	if diff := cmp.Diff(p.Image, got); diff != "" {
		t.Errorf("image as installed (-) and as read (+):\n%s", diff)
	}
	if _, err := p.Pool.Image(t.Context(), "unknown"); !errors.Is(err, coppice.ErrNoImage) {
		t.Errorf("unknown image: %v, want ErrNoImage", err)
	}
}

func poolCreatesVM(t *testing.T, p PoolUnderTest) {
	wantVMs(t, p)
	id, want := coppice.NewVMID(), p.content(t, p.Image.Disk)
	if len(want) == 0 {
		t.Fatal("the exam's image is empty")
	}
	files := p.create(t, id, p.Image.Disk, coppice.Size{DiskMiB: 3, MemoryMiB: 2})
	if named := p.VM(id); files != named {
		t.Errorf("CreateVM names %+v, VM names %+v", files, named)
	}
	p.wantFile(t, files.Disk, want, 3*mib)
	p.wantFile(t, files.Memory, nil, 2*mib)
	wantVMs(t, p, id)
	must(t, p.SyncVM(t.Context(), id))

	// A disk smaller than the image is as large as the image.
	small := coppice.NewVMID()
	files = p.create(t, small, p.Image.Disk, coppice.Size{MemoryMiB: 1})
	p.wantFile(t, files.Disk, want, 1*mib)
	wantVMs(t, p, id, small)

	empty := coppice.NewVMID()
	files = p.create(t, empty, "", coppice.Size{DiskMiB: 2, MemoryMiB: 1})
	p.wantFile(t, files.Disk, nil, 2*mib)
	wantVMs(t, p, id, small, empty)
	if err := p.SyncVM(t.Context(), coppice.NewVMID()); err == nil {
		t.Error("the files of a VM that is not there were synced")
	}
}

func poolReplacesVM(t *testing.T, p PoolUnderTest) {
	id, want := coppice.NewVMID(), p.content(t, p.Image.Disk)
	files := p.create(t, id, p.Image.Disk, coppice.Size{DiskMiB: 4, MemoryMiB: 4})
	p.write(t, files.Disk, "of the earlier attempt")
	files = p.create(t, id, p.Image.Disk, coppice.Size{DiskMiB: 2, MemoryMiB: 2})
	p.wantFile(t, files.Disk, want, 2*mib)
	p.wantFile(t, files.Memory, nil, 2*mib)
	wantVMs(t, p, id)
}

func poolMissingDisk(t *testing.T, p PoolUnderTest) {
	nowhere := p.Capture(coppice.NewCaptureID()).Disk
	if _, err := p.CreateVM(t.Context(), coppice.NewVMID(), nowhere, coppice.Size{DiskMiB: 1, MemoryMiB: 1}); err == nil {
		t.Error("a VM was made from a disk that is not there")
	}
	wantVMs(t, p)
}

func poolResizesVM(t *testing.T, p PoolUnderTest) {
	id := coppice.NewVMID()
	files := p.create(t, id, p.Image.Disk, coppice.Size{DiskMiB: 2, MemoryMiB: 2})
	want := p.content(t, files.Disk)
	for _, step := range []struct{ size, want coppice.Size }{
		{coppice.Size{DiskMiB: 4, MemoryMiB: 4}, coppice.Size{DiskMiB: 4, MemoryMiB: 4}},
		{coppice.Size{DiskMiB: 1, MemoryMiB: 1}, coppice.Size{DiskMiB: 4, MemoryMiB: 1}},
	} {
		must(t, p.ResizeVM(t.Context(), id, step.size))
		p.wantFile(t, files.Disk, want, step.want.DiskMiB*mib)
		p.wantFile(t, files.Memory, nil, step.want.MemoryMiB*mib)
	}
	if err := p.ResizeVM(t.Context(), coppice.NewVMID(), coppice.Size{DiskMiB: 1, MemoryMiB: 1}); !errors.Is(err, coppice.ErrNoVM) {
		t.Errorf("resize of a VM without files: %v, want ErrNoVM", err)
	}
}

func poolRemovesVM(t *testing.T, p PoolUnderTest) {
	stays, goes := coppice.NewVMID(), coppice.NewVMID()
	for _, id := range []coppice.VMID{stays, goes} {
		p.create(t, id, p.Image.Disk, coppice.Size{DiskMiB: 1, MemoryMiB: 1})
	}
	for range 2 {
		must(t, p.RemoveVM(t.Context(), goes))
		wantVMs(t, p, stays)
	}
	if _, _, err := p.Files.ReadFile(p.VM(goes).Disk); err == nil {
		t.Error("the removed VM's disk is still there")
	}
}

func poolCommitsCapture(t *testing.T, p PoolUnderTest) {
	id := coppice.NewCaptureID()
	begun := p.begin(t, id, "old")
	wantCaptures(t, p)
	committed, err := p.CommitCapture(t.Context(), id)
	must(t, err)
	if named := p.Capture(id); committed != named {
		t.Errorf("CommitCapture names %+v, Capture names %+v", committed, named)
	}
	wantCaptures(t, p, id)
	must(t, p.SyncCapture(t.Context(), id))
	if err := p.SyncCapture(t.Context(), coppice.NewCaptureID()); err == nil {
		t.Error("a capture that is not there was synced")
	}
	for name, want := range map[string]string{
		committed.Memory: "old memory", committed.State: "old state", committed.Disk: "old disk",
	} {
		p.wantFile(t, name, []byte(want), int64(len(want)))
	}
	if _, _, err := p.Files.ReadFile(begun.Disk); err == nil {
		t.Error("the temporary name is still there")
	}

	if _, err := p.BeginCapture(t.Context(), id); !errors.Is(err, coppice.ErrExists) {
		t.Errorf("begin of a committed capture: %v, want ErrExists", err)
	}
	if _, err := p.CommitCapture(t.Context(), coppice.NewCaptureID()); err == nil {
		t.Error("a capture that was not begun was committed")
	}
	for range 2 {
		must(t, p.RemoveCapture(t.Context(), id))
		wantCaptures(t, p)
	}
	if _, _, err := p.Files.ReadFile(committed.Disk); err == nil {
		t.Error("the removed capture's disk is still there")
	}
}

func poolDropsBegunCapture(t *testing.T, p PoolUnderTest) {
	id := coppice.NewCaptureID()
	begun := p.begin(t, id, "first try")
	must(t, p.RemoveCapture(t.Context(), id))
	if _, _, err := p.Files.ReadFile(begun.Disk); err == nil {
		t.Error("the dropped capture's disk is still there")
	}
	if _, err := p.CommitCapture(t.Context(), id); err == nil {
		t.Error("a dropped capture was committed")
	}

	// A second begin starts anew.
	p.begin(t, id, "a longer second try")
	begun = p.begin(t, id, "third")
	p.wantFile(t, begun.State, []byte("third state"), int64(len("third state")))
	_, err := p.CommitCapture(t.Context(), id)
	must(t, err)
	wantCaptures(t, p, id)
}

func poolTrimsCapture(t *testing.T, p PoolUnderTest) {
	id := coppice.NewCaptureID()
	p.begin(t, id, "a")
	committed, err := p.CommitCapture(t.Context(), id)
	must(t, err)
	vm := p.create(t, coppice.NewVMID(), committed.Disk, coppice.Size{DiskMiB: 1, MemoryMiB: 1})
	must(t, p.TrimCapture(t.Context(), id))
	must(t, p.TrimCapture(t.Context(), id))
	p.wantFile(t, committed.Memory, []byte("a memory"), int64(len("a memory")))
	for _, name := range []string{committed.Disk, committed.State} {
		if _, _, err := p.Files.ReadFile(name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	p.wantFile(t, vm.Disk, []byte("a disk"), mib)
	wantCaptures(t, p, id)
	must(t, p.RemoveCapture(t.Context(), id))
	wantCaptures(t, p)
	must(t, p.TrimCapture(t.Context(), coppice.NewCaptureID()))
}

func poolClones(t *testing.T, p PoolUnderTest) {
	ctx, first, second := t.Context(), coppice.NewCaptureID(), coppice.NewCaptureID()
	p.begin(t, first, "old")
	old, err := p.CommitCapture(ctx, first)
	must(t, err)
	vm := p.create(t, coppice.NewVMID(), p.Image.Disk, coppice.Size{DiskMiB: 2, MemoryMiB: 1})
	want := p.content(t, vm.Disk)

	dst, err := p.BeginCapture(ctx, second)
	must(t, err)
	if err := p.Clone(ctx, dst.State, p.VM(coppice.NewVMID()).Disk); err == nil {
		t.Error("a file that is not there was cloned")
	}
	must(t, p.Clone(ctx, dst.Disk, vm.Disk))
	must(t, p.Clone(ctx, dst.Memory, old.Memory))
	p.write(t, vm.Disk, "later, and not in the capture")
	committed, err := p.CommitCapture(ctx, second)
	must(t, err)
	p.wantFile(t, committed.Disk, want, 2*mib)
	p.wantFile(t, committed.Memory, []byte("old memory"), int64(len("old memory")))
}

func poolClonesAreApart(t *testing.T, p PoolUnderTest) {
	capture := coppice.NewCaptureID()
	p.begin(t, capture, "old")
	committed, err := p.CommitCapture(t.Context(), capture)
	must(t, err)
	size := coppice.Size{DiskMiB: 1, MemoryMiB: 1}
	one := p.create(t, coppice.NewVMID(), committed.Disk, size)
	two := p.create(t, coppice.NewVMID(), committed.Disk, size)
	p.write(t, one.Disk, "new disk of one")
	p.wantFile(t, two.Disk, []byte("old disk"), mib)
	p.wantFile(t, committed.Disk, []byte("old disk"), int64(len("old disk")))

	must(t, p.RemoveCapture(t.Context(), capture))
	p.wantFile(t, one.Disk, []byte("new disk of one"), mib)
	p.wantFile(t, two.Disk, []byte("old disk"), mib)
}

func (p PoolUnderTest) create(t *testing.T, id coppice.VMID, disk string, size coppice.Size) coppice.VMFiles {
	t.Helper()
	files, err := p.CreateVM(t.Context(), id, disk, size)
	must(t, err)
	return files
}

// begin begins a capture and writes its files: "word memory", "word state", "word disk".
func (p PoolUnderTest) begin(t *testing.T, id coppice.CaptureID, word string) coppice.CaptureFiles {
	t.Helper()
	files, err := p.BeginCapture(t.Context(), id)
	must(t, err)
	p.write(t, files.Memory, word+" memory")
	p.write(t, files.State, word+" state")
	p.write(t, files.Disk, word+" disk")
	return files
}

func (p PoolUnderTest) write(t *testing.T, name, content string) {
	t.Helper()
	must(t, p.Files.WriteFile(name, []byte(content)))
}

func (p PoolUnderTest) content(t *testing.T, name string) []byte {
	t.Helper()
	start, _, err := p.Files.ReadFile(name)
	must(t, err)
	return bytes.TrimRight(start, "\x00")
}

func (p PoolUnderTest) wantFile(t *testing.T, name string, content []byte, size int64) {
	t.Helper()
	_, gotSize, err := p.Files.ReadFile(name)
	must(t, err)
	if gotSize != size {
		t.Errorf("%s has %d bytes, want %d", name, gotSize, size)
	}
	if got := p.content(t, name); !bytes.Equal(got, content) {
		t.Errorf("%s holds %.60q, want %.60q", name, got, content)
	}
}

func wantVMs(t *testing.T, p PoolUnderTest, want ...coppice.VMID) {
	t.Helper()
	got, err := p.VMs(t.Context())
	must(t, err)
	wantIDs(t, got, want)
}

func wantCaptures(t *testing.T, p PoolUnderTest, want ...coppice.CaptureID) {
	t.Helper()
	got, err := p.Captures(t.Context())
	must(t, err)
	wantIDs(t, got, want)
}

func wantIDs[ID ~string](t *testing.T, got, want []ID) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the pool lists %q, want %q", got, want)
	}
}
