package pool_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/pool"
)

func TestFullPool(t *testing.T) {
	ctx, dir := t.Context(), ensured(t)
	p := open(t, dir)
	image := install(t, p, "image")
	var vms []coppice.VMID
	var captures []coppice.CaptureID
	for range 3 {
		vm, capture := coppice.NewVMID(), coppice.NewCaptureID()
		if _, err := p.CreateVM(ctx, vm, image.Disk, size); err != nil {
			t.Fatal(err)
		}
		dst, err := p.BeginCapture(ctx, capture)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Clone(ctx, dst.Disk, image.Disk); err != nil {
			t.Fatal(err)
		}
		if _, err := p.CommitCapture(ctx, capture); err != nil {
			t.Fatal(err)
		}
		vms, captures = append(vms, vm), append(captures, capture)
	}
	full := filepath.Join(dir, "full")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	reflinktest.Fill(t, full)
	stuff(t, image.Initrd, filepath.Join(dir, "tmp"))

	_, createErr := p.CreateVM(ctx, coppice.NewVMID(), image.Disk, size)
	_, beginErr := p.BeginCapture(ctx, coppice.NewCaptureID())
	_, installErr := p.InstallImage(ctx, "other", func(string) (coppice.Image, error) {
		t.Error("fill was called")
		return coppice.Image{}, nil
	})
	for what, err := range map[string]error{"CreateVM": createErr, "BeginCapture": beginErr, "InstallImage": installErr} {
		if !errors.Is(err, coppice.ErrNoSpace) {
			t.Errorf("%s in a full pool: %v, want ErrNoSpace", what, err)
		}
	}
	// Deleting works, and nothing but deleting makes the room that is needed then.
	for i := range vms {
		if err := p.RemoveVM(ctx, vms[i]); err != nil {
			t.Errorf("RemoveVM in a full pool: %v", err)
		}
		if err := p.RemoveCapture(ctx, captures[i]); err != nil {
			t.Errorf("RemoveCapture in a full pool: %v", err)
		}
		reflinktest.Fill(t, full)
	}
	for _, sub := range []string{"vms", "captures"} {
		if left := names(t, dir, sub); len(left) > 0 {
			t.Errorf("left under %s: %v", sub, left)
		}
	}
}

// stuff gives file more names in a directory, until a full file system has no
// room for one more.
func stuff(t *testing.T, file, dir string) {
	t.Helper()
	for n := 0; ; n++ {
		err := os.Link(file, filepath.Join(dir, fmt.Sprintf("a name as long as others %d", n)))
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestFillingUp(t *testing.T) {
	ctx, dir := t.Context(), ensured(t)
	p := open(t, dir)
	_, err := p.InstallImage(ctx, "image", func(dir string) (coppice.Image, error) {
		f, err := os.Create(filepath.Join(dir, "disk.raw"))
		if err != nil {
			return coppice.Image{}, err
		}
		defer f.Close()
		return coppice.Image{}, unix.Fallocate(int(f.Fd()), 0, 0, gib)
	})
	if !errors.Is(err, coppice.ErrNoSpace) {
		t.Errorf("an image larger than the pool: %v, want ErrNoSpace", err)
	}
	if left := names(t, dir, "tmp"); len(left) > 0 {
		t.Errorf("left under tmp: %v", left)
	}
}

func TestUsage(t *testing.T) {
	dir := ensured(t)
	p := open(t, dir)
	before, err := p.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before.TotalBytes < gib/2 || before.TotalBytes > gib || before.FreeBytes > before.TotalBytes {
		t.Errorf("usage of 1 GiB: %+v", before)
	}
	const taken = 128 << 20
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, taken); err != nil {
		t.Fatal(err)
	}
	after, err := p.Usage(t.Context())
	const metadata = 1 << 20 // may come and go
	if err != nil || before.FreeBytes-after.FreeBytes < taken-metadata || after.TotalBytes != before.TotalBytes {
		t.Errorf("before %+v, after %d bytes were taken %+v, %v", before, taken, after, err)
	}
}

// TestUsageOfAnImageInLittleSpace holds that an image larger than what is left
// around it does not count as free.
func TestUsageOfAnImageInLittleSpace(t *testing.T) {
	outer := ensured(t)
	dir := filepath.Join(outer, "pool")
	image := dir + ".xfs"
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 8*gib); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.xfs", "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ensure(t, dir)
	defer pool.Remove(t.Context(), dir)
	p := open(t, dir)
	defer p.Close()
	usage, err := p.Usage(t.Context())
	if err != nil || usage.TotalBytes < 4*gib || usage.FreeBytes >= gib {
		t.Errorf("usage %+v, %v; want what the file system around it has", usage, err)
	}

	reflinktest.Fill(t, outer)
	_, err = p.BeginCapture(t.Context(), coppice.NewCaptureID())
	if !errors.Is(err, coppice.ErrNoSpace) {
		t.Errorf("a new capture with nothing free around the image: %v, want ErrNoSpace", err)
	}
}
