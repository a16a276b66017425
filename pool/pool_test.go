package pool_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/pool"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(churnEnv); dir != "" {
		churn(dir)
		return
	}
	os.Exit(m.Run())
}

func TestPool(t *testing.T) {
	dir := reflinktest.Dir(t)
	conformance.TestPool(t, func(t *testing.T) conformance.PoolUnderTest {
		p := open(t, subdir(t, dir))
		return conformance.PoolUnderTest{Pool: p, Image: install(t, p, "image"), Files: files{}}
	})
}

// files are the host's.
type files struct{}

func (files) WriteFile(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

func (files) ReadFile(name string) ([]byte, int64, error) {
	b, err := os.ReadFile(name)
	return b, int64(len(b)), err
}

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t testing.TB, dir string) *pool.Pool {
	t.Helper()
	p, err := pool.Open(dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func subdir(t testing.TB, dir string) string {
	t.Helper()
	sub, err := os.MkdirTemp(dir, "pool-")
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// install installs an image with a disk of 1 MiB that nobody may write.
func install(t testing.TB, p *pool.Pool, id coppice.ImageID) coppice.Image {
	t.Helper()
	image, err := p.InstallImage(t.Context(), id, func(dir string) (coppice.Image, error) {
		image := coppice.Image{Disk: "disk.raw", DiskMiB: 1, Kernel: "vmlinux", Initrd: "initrd", Cmdline: "quiet"}
		for _, name := range []string{image.Disk, image.Kernel, image.Initrd} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("the "+name), 0o444); err != nil {
				return image, err
			}
		}
		return image, os.Truncate(filepath.Join(dir, image.Disk), 1<<20)
	})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func names(t testing.TB, dir ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir...))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestInstallImage(t *testing.T) {
	dir := reflinktest.Dir(t)
	p := open(t, dir)
	want := coppice.Image{
		ID: "image", Disk: filepath.Join(dir, "images/image/disk.raw"), DiskMiB: 1,
		Kernel: filepath.Join(dir, "images/image/vmlinux"), Initrd: filepath.Join(dir, "images/image/initrd"), Cmdline: "quiet",
	}
	if diff := cmp.Diff(want, install(t, p, "image")); diff != "" {
		t.Errorf("wanted (-) and installed (+):\n%s", diff)
	}

	again, err := p.InstallImage(t.Context(), "image", func(string) (coppice.Image, error) {
		t.Error("fill was called for an image that is there")
		return coppice.Image{}, nil
	})
	if err != nil || again != want {
		t.Errorf("second installation: %+v, %v", again, err)
	}
	if images, err := p.Images(t.Context()); err != nil || len(images) != 1 || images[0] != want {
		t.Errorf("images %+v, %v", images, err)
	}

	failed := errors.New("no network")
	for what, fill := range map[string]func(string) (coppice.Image, error){
		"fill fails": func(dir string) (coppice.Image, error) {
			return coppice.Image{}, errors.Join(failed, os.WriteFile(filepath.Join(dir, "half"), nil, 0o600))
		},
		"a file is missing": func(string) (coppice.Image, error) {
			return coppice.Image{Disk: "disk.raw", Kernel: "vmlinux", Initrd: "initrd"}, nil
		},
		"a file is elsewhere": func(string) (coppice.Image, error) {
			return coppice.Image{Disk: "../../images/image/disk.raw", Kernel: want.Kernel, Initrd: want.Initrd}, nil
		},
	} {
		_, err := p.InstallImage(t.Context(), "other", fill)
		if err == nil || what == "fill fails" && !errors.Is(err, failed) {
			t.Errorf("%s: %v", what, err)
		}
		if left := append(names(t, dir, "tmp"), names(t, dir, "images")...); len(left) != 1 {
			t.Errorf("%s: it leaves %v", what, left)
		}
	}
}

func TestInstallImageAtOnce(t *testing.T) {
	dir := reflinktest.Dir(t)
	p := open(t, dir)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { install(t, p, "image") })
	}
	wg.Wait()
	if left := names(t, dir, "tmp"); len(left) > 0 {
		t.Errorf("left under tmp: %v", left)
	}
	if images, err := p.Images(t.Context()); err != nil || len(images) != 1 {
		t.Errorf("images %+v, %v", images, err)
	}
}

func TestIDsNameNothingElse(t *testing.T) {
	ctx, dir := t.Context(), reflinktest.Dir(t)
	p := open(t, dir)
	image := install(t, p, "image")
	for _, id := range []string{"", ".", "..", "../images", "image/../image"} {
		_, createErr := p.CreateVM(ctx, coppice.VMID(id), image.Disk, coppice.Size{DiskMiB: 1, MemoryMiB: 1})
		_, beginErr := p.BeginCapture(ctx, coppice.CaptureID(id))
		_, commitErr := p.CommitCapture(ctx, coppice.CaptureID(id))
		_, imageErr := p.Image(ctx, coppice.ImageID(id))
		_, installErr := p.InstallImage(ctx, coppice.ImageID(id), func(string) (coppice.Image, error) {
			t.Errorf("fill was called for image %q", id)
			return coppice.Image{}, nil
		})
		for what, err := range map[string]error{
			"CreateVM": createErr, "BeginCapture": beginErr, "CommitCapture": commitErr,
			"RemoveVM": p.RemoveVM(ctx, coppice.VMID(id)), "RemoveCapture": p.RemoveCapture(ctx, coppice.CaptureID(id)),
			"Image": imageErr, "InstallImage": installErr,
		} {
			if err == nil {
				t.Errorf("%s took the id %q", what, id)
			}
		}
	}
	if got := names(t, dir); len(got) != 4 {
		t.Errorf("the pool has %v", got)
	}
}

func TestVMFilesAreWritable(t *testing.T) {
	p := open(t, reflinktest.Dir(t))
	files, err := p.CreateVM(t.Context(), coppice.NewVMID(), install(t, p, "image").Disk, coppice.Size{DiskMiB: 1, MemoryMiB: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{files.Disk, files.Memory} {
		if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, want 0600; %v", name, info.Mode(), err)
		}
	}
}

func TestCaptureOfAStoppedVMIsADisk(t *testing.T) {
	ctx := t.Context()
	p := open(t, reflinktest.Dir(t))
	image := install(t, p, "image")
	id := coppice.NewCaptureID()
	begun, err := p.BeginCapture(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.CommitCapture(ctx, id); err == nil {
		t.Error("a capture without a disk was committed")
	}
	if err := p.Clone(ctx, begun.Disk, image.Disk); err != nil {
		t.Fatal(err)
	}
	committed, err := p.CommitCapture(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(committed.Disk); err != nil || !strings.HasPrefix(string(got), "the disk.raw") {
		t.Errorf("disk %.20q, %v", got, err)
	}
}

func TestOpenRemovesWhatWasLeft(t *testing.T) {
	dir := reflinktest.Dir(t)
	p := open(t, dir)
	id := coppice.NewVMID()
	if _, err := p.CreateVM(t.Context(), id, install(t, p, "image").Disk, coppice.Size{DiskMiB: 1, MemoryMiB: 1}); err != nil {
		t.Fatal(err)
	}
	begun, err := p.BeginCapture(t.Context(), coppice.NewCaptureID())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(begun.Memory, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Open(dir, discard); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened while it is open: %v", err)
	}
	if got := names(t, dir, "tmp"); len(got) != 1 {
		t.Errorf("the refused Open removed what is in use: %v is left", got)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	p = open(t, dir)
	if got := names(t, dir, "tmp"); len(got) != 0 {
		t.Errorf("tmp still has %v", got)
	}
	if vms, err := p.VMs(t.Context()); err != nil || len(vms) != 1 || vms[0] != id {
		t.Errorf("VMs %v, %v", vms, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := pool.Open(filepath.Join(t.TempDir(), "nowhere"), discard); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	_, err := pool.Open(plainDir(t), discard)
	if err == nil || !strings.Contains(err.Error(), "use XFS") {
		t.Errorf("a file system without reflinks: %v", err)
	}
}

// A process may have the disk open: its content is replaced, the file is not.
func TestRefill(t *testing.T) {
	p := open(t, reflinktest.Dir(t))
	id := coppice.NewVMID()
	files, err := p.CreateVM(t.Context(), id, "", coppice.Size{DiskMiB: 4, MemoryMiB: 1})
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.OpenFile(files.Disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if _, err := disk.WriteAt([]byte("old"), 3<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CreateVM(t.Context(), id, install(t, p, "image").Disk, coppice.Size{DiskMiB: 4, MemoryMiB: 1}); err != nil {
		t.Fatal(err)
	}
	start := make([]byte, len("the disk.raw"))
	end := make([]byte, 3)
	if _, err := disk.ReadAt(start, 0); err != nil || string(start) != "the disk.raw" {
		t.Errorf("the open disk begins with %q, %v", start, err)
	}
	if _, err := disk.ReadAt(end, 3<<20); err != nil || string(end) != "\x00\x00\x00" {
		t.Errorf("further on it still has %q, %v", end, err)
	}
}
