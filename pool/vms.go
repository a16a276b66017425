package pool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/internal/fallocate"
	"github.com/coppice-vm/coppice/internal/reflink"
)

var (
	fileMade    = failpoint.New("pool/create-vm/file")
	diskCloned  = failpoint.New("pool/fill/cloned")
	tailDropped = failpoint.New("pool/fill/dropped")
	diskSized   = failpoint.New("pool/fill/sized")
	diskGrown   = failpoint.New("pool/resize/grown")
)

// CreateVM implements [coppice.VMPool].
func (p *Pool) CreateVM(ctx context.Context, id coppice.VMID, disk string, size coppice.Size) (coppice.VMFiles, error) {
	if err := p.createVM(ctx, id, disk, size); err != nil {
		return coppice.VMFiles{}, failure(fmt.Sprintf("create VM %q", id), err)
	}
	return p.VM(id), nil
}

func (p *Pool) createVM(ctx context.Context, id coppice.VMID, disk string, size coppice.Size) error {
	if !id.Valid() {
		return errInvalidID
	}
	if _, err := os.Stat(p.vmDir(id)); err == nil {
		return p.refill(ctx, p.VM(id), disk, size)
	}
	return p.create(ctx, p.vmDir(id), func(dir string) error {
		files := vmFiles(dir)
		for _, name := range []string{files.Disk, files.Memory} {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				return err
			}
			if err := fileMade.Hit(ctx); err != nil {
				return err
			}
		}
		return fill(ctx, files, disk, size)
	})
}

// refill gives files that are there already the content of a new VM's.
func (p *Pool) refill(ctx context.Context, files coppice.VMFiles, disk string, size coppice.Size) error {
	if err := p.room(); err != nil {
		return err
	}
	return fill(ctx, files, disk, size)
}

// fill gives a VM's files their content, and nothing is left of what they had.
// They have their sizes at any moment, if they had them before.
func fill(ctx context.Context, files coppice.VMFiles, disk string, size coppice.Size) error {
	dst, err := os.OpenFile(files.Disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	var cloned int64
	if disk != "" {
		if cloned, err = cloneInto(dst, disk); err != nil {
			return err
		}
	}
	if err := diskCloned.Hit(ctx); err != nil {
		return err
	}
	info, err := dst.Stat()
	if err != nil {
		return err
	}
	if rest := info.Size() - cloned; rest > 0 {
		if err := fallocate.Punch(int(dst.Fd()), cloned, rest); err != nil {
			return err
		}
	}
	if err := tailDropped.Hit(ctx); err != nil {
		return err
	}
	if err := dst.Truncate(max(cloned, size.DiskMiB<<20)); err != nil {
		return err
	}
	if err := diskSized.Hit(ctx); err != nil {
		return err
	}
	return os.Truncate(files.Memory, size.MemoryMiB<<20)
}

// cloneInto makes the beginning of dst share the blocks of a file, and returns
// how many bytes that is.
func cloneInto(dst *os.File, name string) (int64, error) {
	src, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), reflink.CloneFile(dst, src)
}

// SyncVM implements [coppice.VMPool].
func (p *Pool) SyncVM(ctx context.Context, id coppice.VMID) error {
	return failure(fmt.Sprintf("sync VM %q", id), syncAll(ctx, p.vmDir(id)))
}

// VM implements [coppice.VMPool].
func (p *Pool) VM(id coppice.VMID) coppice.VMFiles { return vmFiles(p.vmDir(id)) }

// ResizeVM implements [coppice.VMPool].
func (p *Pool) ResizeVM(ctx context.Context, id coppice.VMID, size coppice.Size) error {
	err := resize(ctx, p.VM(id), size)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w (%w)", coppice.ErrNoVM, err)
	}
	return failure(fmt.Sprintf("resize VM %q", id), err)
}

// resize gives files the sizes of a VM. The disk only grows.
func resize(ctx context.Context, files coppice.VMFiles, size coppice.Size) error {
	info, err := os.Stat(files.Disk)
	if err != nil {
		return err
	}
	if bytes := size.DiskMiB << 20; bytes > info.Size() {
		if err := os.Truncate(files.Disk, bytes); err != nil {
			return err
		}
	}
	if err := diskGrown.Hit(ctx); err != nil {
		return err
	}
	return os.Truncate(files.Memory, size.MemoryMiB<<20)
}

// RemoveVM implements [coppice.VMPool].
func (p *Pool) RemoveVM(ctx context.Context, id coppice.VMID) error {
	if !id.Valid() {
		return failure(fmt.Sprintf("remove VM %q", id), errInvalidID)
	}
	return failure(fmt.Sprintf("remove VM %q", id), p.remove(ctx, p.vmDir(id)))
}

// VMs implements [coppice.VMPool].
func (p *Pool) VMs(ctx context.Context) ([]coppice.VMID, error) {
	ids, err := ids[coppice.VMID](p.path(vmsDir))
	return ids, failure("list VMs", err)
}

func (p *Pool) vmDir(id coppice.VMID) string { return p.path(vmsDir, string(id)) }

// errInvalidID keeps an id that is none, as the empty one, from naming another directory.
var errInvalidID = errors.New("that is not a valid id")
