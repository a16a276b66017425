package pool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink"
)

// CreateVM implements [coppice.VMPool].
func (p *Pool) CreateVM(ctx context.Context, id coppice.VMID, disk string, size coppice.Size) (coppice.VMFiles, error) {
	if err := p.createVM(id, disk, size); err != nil {
		return coppice.VMFiles{}, failure(fmt.Sprintf("create VM %q", id), err)
	}
	return p.VM(id), nil
}

func (p *Pool) createVM(id coppice.VMID, disk string, size coppice.Size) error {
	if !id.Valid() {
		return errInvalidID
	}
	if err := p.remove(p.vmDir(id)); err != nil {
		return err
	}
	return p.create(p.vmDir(id), func(dir string) error {
		files := vmFiles(dir)
		if err := reflink.Clone(files.Disk, disk); err != nil {
			return err
		}
		// The clone has the mode of an image's disk, which may be read-only.
		if err := os.Chmod(files.Disk, 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(files.Memory, nil, 0o600); err != nil {
			return err
		}
		return resize(files, size)
	})
}

// VM implements [coppice.VMPool].
func (p *Pool) VM(id coppice.VMID) coppice.VMFiles { return vmFiles(p.vmDir(id)) }

// ResizeVM implements [coppice.VMPool].
func (p *Pool) ResizeVM(ctx context.Context, id coppice.VMID, size coppice.Size) error {
	files := p.VM(id)
	err := resize(files, size)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("%w (%w)", coppice.ErrNoVM, err)
	case err == nil:
		err = errors.Join(syncFile(files.Disk), syncFile(files.Memory))
	}
	return failure(fmt.Sprintf("resize VM %q", id), err)
}

// resize gives files the sizes of a VM. The disk only grows.
func resize(files coppice.VMFiles, size coppice.Size) error {
	info, err := os.Stat(files.Disk)
	if err != nil {
		return err
	}
	if bytes := size.DiskMiB << 20; bytes > info.Size() {
		if err := os.Truncate(files.Disk, bytes); err != nil {
			return err
		}
	}
	return os.Truncate(files.Memory, size.MemoryMiB<<20)
}

// RemoveVM implements [coppice.VMPool].
func (p *Pool) RemoveVM(ctx context.Context, id coppice.VMID) error {
	if !id.Valid() {
		return failure(fmt.Sprintf("remove VM %q", id), errInvalidID)
	}
	return failure(fmt.Sprintf("remove VM %q", id), p.remove(p.vmDir(id)))
}

// VMs implements [coppice.VMPool].
func (p *Pool) VMs(ctx context.Context) ([]coppice.VMID, error) {
	ids, err := ids[coppice.VMID](p.path(vmsDir))
	return ids, failure("list VMs", err)
}

func (p *Pool) vmDir(id coppice.VMID) string { return p.path(vmsDir, string(id)) }

// errInvalidID keeps an id that is none, as the empty one, from naming another directory.
var errInvalidID = errors.New("that is not a valid id")
