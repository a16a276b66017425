package mem

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/coppice-vm/coppice"
)

// A Pool is a [coppice.Pool] whose files exist only as names in it. Nobody
// writes a capture's files here, so they are there, empty, from BeginCapture
// on; WriteFile and ReadFile stand in for what a run does with files.
type Pool struct {
	mu     sync.Mutex
	images map[coppice.ImageID]coppice.Image
	dirs   map[string]directory // by path, as "vms/ID"
}

type directory map[string]file // by name

// A file reads as its start, then zeroes up to its size.
type file struct {
	start []byte // never changed in place: clones share it
	size  int64
}

// NewPool returns a pool that has images and nothing else.
func NewPool(images ...coppice.Image) *Pool {
	p := &Pool{images: map[coppice.ImageID]coppice.Image{}, dirs: map[string]directory{}}
	for _, image := range images {
		p.images[image.ID] = image
		p.put(image.Disk, file{size: mib(image.DiskMiB)})
	}
	return p
}

// Image implements [coppice.Pool].
func (p *Pool) Image(ctx context.Context, id coppice.ImageID) (coppice.Image, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	image, ok := p.images[id]
	if !ok {
		return coppice.Image{}, fmt.Errorf("image %q: %w", id, coppice.ErrNoImage)
	}
	return image, nil
}

// Clone implements [coppice.Pool].
func (p *Pool) Clone(ctx context.Context, dst, src string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	source, err := p.get(src)
	if err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	if _, err := p.get(dst); err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	p.put(dst, source)
	return nil
}

// CreateVM implements [coppice.Pool].
func (p *Pool) CreateVM(ctx context.Context, id coppice.VMID, disk string, size coppice.Size) (coppice.VMFiles, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var source file
	if disk != "" {
		var err error
		if source, err = p.get(disk); err != nil {
			return coppice.VMFiles{}, fmt.Errorf("create VM %q: %w", id, err)
		}
	}
	p.dirs["vms/"+string(id)] = directory{
		"disk.raw": {source.start, max(source.size, mib(size.DiskMiB))},
		"memory":   {size: mib(size.MemoryMiB)},
	}
	return p.VM(id), nil
}

// SyncVM implements [coppice.Pool].
func (p *Pool) SyncVM(ctx context.Context, id coppice.VMID) error {
	return p.there("vms/" + string(id))
}

// there reports whether a directory is.
func (p *Pool) there(dir string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dirs[dir] == nil {
		return &fs.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
	}
	return nil
}

// VM implements [coppice.Pool].
func (p *Pool) VM(id coppice.VMID) coppice.VMFiles {
	dir := "vms/" + string(id)
	return coppice.VMFiles{Disk: dir + "/disk.raw", Memory: dir + "/memory"}
}

// ResizeVM implements [coppice.Pool].
func (p *Pool) ResizeVM(ctx context.Context, id coppice.VMID, size coppice.Size) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, ok := p.dirs["vms/"+string(id)]
	if !ok {
		return fmt.Errorf("resize VM %q: %w", id, coppice.ErrNoVM)
	}
	disk := dir["disk.raw"]
	disk.size = max(disk.size, mib(size.DiskMiB))
	dir["disk.raw"] = disk
	dir["memory"] = file{size: mib(size.MemoryMiB)}
	return nil
}

// RemoveVM implements [coppice.Pool].
func (p *Pool) RemoveVM(ctx context.Context, id coppice.VMID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dirs, "vms/"+string(id))
	return nil
}

// VMs implements [coppice.Pool].
func (p *Pool) VMs(ctx context.Context) ([]coppice.VMID, error) {
	return list[coppice.VMID](p, "vms/"), nil
}

// BeginCapture implements [coppice.Pool].
func (p *Pool) BeginCapture(ctx context.Context, id coppice.CaptureID) (coppice.CaptureFiles, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.dirs["captures/"+string(id)]; ok {
		return coppice.CaptureFiles{}, fmt.Errorf("begin capture %q: %w", id, coppice.ErrExists)
	}
	p.dirs["tmp/"+string(id)] = directory{"disk.raw": {}, "memory": {}, "state": {}}
	return captureFiles("tmp/" + string(id)), nil
}

// CommitCapture implements [coppice.Pool].
func (p *Pool) CommitCapture(ctx context.Context, id coppice.CaptureID) (coppice.CaptureFiles, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, ok := p.dirs["tmp/"+string(id)]
	if !ok {
		return coppice.CaptureFiles{}, fmt.Errorf("commit capture %q: not begun", id)
	}
	p.dirs["captures/"+string(id)] = dir
	delete(p.dirs, "tmp/"+string(id))
	return p.Capture(id), nil
}

// SyncCapture implements [coppice.Pool].
func (p *Pool) SyncCapture(ctx context.Context, id coppice.CaptureID) error {
	return p.there("captures/" + string(id))
}

// Capture implements [coppice.Pool].
func (p *Pool) Capture(id coppice.CaptureID) coppice.CaptureFiles {
	return captureFiles("captures/" + string(id))
}

// TrimCapture implements [coppice.Pool].
func (p *Pool) TrimCapture(ctx context.Context, id coppice.CaptureID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dirs["captures/"+string(id)], "state")
	delete(p.dirs["captures/"+string(id)], "disk.raw")
	return nil
}

// RemoveCapture implements [coppice.Pool].
func (p *Pool) RemoveCapture(ctx context.Context, id coppice.CaptureID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dirs, "tmp/"+string(id))
	delete(p.dirs, "captures/"+string(id))
	return nil
}

// Captures implements [coppice.Pool].
func (p *Pool) Captures(ctx context.Context) ([]coppice.CaptureID, error) {
	return list[coppice.CaptureID](p, "captures/"), nil
}

// WriteFile gives a file that exists new content, keeping its size if that is larger.
func (p *Pool) WriteFile(name string, content []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := p.get(name)
	if err != nil {
		return err
	}
	p.put(name, file{slices.Clone(content), max(f.size, int64(len(content)))})
	return nil
}

// ReadFile returns what was written to a file, and its size: after what was
// written it reads as zeroes.
func (p *Pool) ReadFile(name string) (start []byte, size int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := p.get(name)
	return slices.Clone(f.start), f.size, err
}

func (p *Pool) get(name string) (file, error) {
	f, ok := p.dirs[path.Dir(name)][path.Base(name)]
	if !ok {
		return file{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f, nil
}

func (p *Pool) put(name string, f file) {
	dir := path.Dir(name)
	if p.dirs[dir] == nil {
		p.dirs[dir] = directory{}
	}
	p.dirs[dir][path.Base(name)] = f
}

func list[ID ~string](p *Pool, prefix string) []ID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []ID
	for _, dir := range slices.Sorted(maps.Keys(p.dirs)) {
		if id, ok := strings.CutPrefix(dir, prefix); ok {
			ids = append(ids, ID(id))
		}
	}
	return ids
}

func captureFiles(dir string) coppice.CaptureFiles {
	return coppice.CaptureFiles{Memory: dir + "/memory", State: dir + "/state", Disk: dir + "/disk.raw"}
}

func mib(n int64) int64 { return n << 20 }
