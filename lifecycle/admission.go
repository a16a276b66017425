package lifecycle

import (
	"context"
	"time"

	"github.com/coppice-vm/coppice"
)

// startMiB is what a VM takes of the host's memory before its guest does
// anything: the process, the translator's buffer, the pages that every guest
// changes when it starts.
const startMiB = 96

// freeingTime is how long a file system may take to free what was removed.
const freeingTime = 200 * time.Millisecond

// A Budget says what of the host is not for VMs, and how much of its memory is
// promised beyond what there is. CPUs are promised without end.
type Budget struct {
	// MemoryReserveMiB are left to everything that is not a VM.
	MemoryReserveMiB int64
	// MemoryOvercommit is how often memory is promised: of the memory of each VM
	// that runs, one part in so many is kept free, for it to grow into. 1 keeps all of it.
	MemoryOvercommit int64
	// StorageReserveMiB of the pool are left to what is there already.
	StorageReserveMiB int64
}

// growth returns how much is kept free for VMs that run and have that memory.
func (b Budget) growth(memoryMiB int64) int64 { return memoryMiB / max(1, b.MemoryOvercommit) }

// Need returns how much memory must be left for a VM to start.
func (b Budget) Need(memoryMiB int64) int64 { return startMiB + b.growth(memoryMiB) }

// Left returns how much memory is left for VMs to start with, where those that
// run have runningMiB in sum.
func (b Budget) Left(c coppice.Capacity, runningMiB int64) int64 {
	return c.FreeMemoryMiB - b.MemoryReserveMiB - b.growth(runningMiB)
}

// A promise is memory set aside for a VM that is about to run.
type promise struct {
	mib     int64
	holders int
}

// promise sets the memory aside that a VM needs to start, or returns why the
// host cannot. It is held until release, by which the VM runs and counts by
// itself, or does not. Promises to the same VM are one.
func (m *Manager) promise(ctx context.Context, id coppice.VMID, memoryMiB int64) (release func(), err error) {
	return m.setAside(ctx, id, m.Budget.Need(memoryMiB))
}

// makeRoom finds out whether an account may have another VM of that size and
// whether the host has room for it, and sets memory aside for it until release.
func (m *Manager) makeRoom(ctx context.Context, account coppice.AccountID, size coppice.Size) (release func(), err error) {
	if err := m.admits(ctx, account, newVMOf(size)); err != nil {
		return nil, err
	}
	return m.roomOnHost(ctx, size)
}

// roomOnHost is makeRoom for a VM of the host's own.
func (m *Manager) roomOnHost(ctx context.Context, size coppice.Size) (release func(), err error) {
	if err := m.room(ctx); err != nil {
		return nil, err
	}
	return m.promise(ctx, coppice.NewVMID(), size.MemoryMiB) // it is not known yet which it will be
}

// setAside is promise for so much memory.
func (m *Manager) setAside(ctx context.Context, id coppice.VMID, mib int64) (release func(), err error) {
	capacity, err := m.Gauge.Capacity(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.promises[id]
	if p == nil {
		left := m.Budget.Left(capacity, m.runningMiB())
		for _, other := range m.promises {
			left -= other.mib
		}
		if mib > left {
			return nil, noMemory(mib, max(0, left))
		}
		p = &promise{mib: mib}
		m.promises[id] = p
	}
	p.holders++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if p.holders--; p.holders == 0 {
			delete(m.promises, id)
		}
	}, nil
}

// runningMiB returns the memory of all VMs that run. The caller holds m.mu.
func (m *Manager) runningMiB() (sum int64) {
	for _, e := range m.vms {
		if e.run != nil {
			sum += e.memoryMiB
		}
	}
	return sum
}

// whenDone calls release when nothing is in flight on a VM: whoever asked for it
// may have left earlier.
func (m *Manager) whenDone(id coppice.VMID, release func()) {
	m.mu.Lock()
	var f *flight
	if e := m.vms[id]; e != nil {
		f = e.flight
	}
	m.mu.Unlock()
	if f == nil {
		release()
		return
	}
	go func() {
		<-f.done
		release()
	}()
}

// room returns an error if the pool has no space for anything new, and cannot
// be given any by evictions or what has just been removed.
func (m *Manager) room(ctx context.Context) error {
	capacity, err := m.Gauge.Capacity(ctx)
	reserve := m.Budget.StorageReserveMiB
	if err != nil || capacity.FreeStorageMiB >= reserve {
		return err
	}
	m.press()
	free, err := m.freed(ctx, reserve)
	if err != nil || free >= reserve {
		return err
	}
	return coppice.Errorf(coppice.CodeNoStorage, "the host's storage pool has %d MiB left, and %d are kept for what is in it already: delete VMs or make the pool larger", free, reserve)
}

// freed returns how much storage is free as soon as that is enough, and when
// what has just been removed must show at the latest.
func (m *Manager) freed(ctx context.Context, enoughMiB int64) (freeMiB int64, err error) {
	for end := time.Now().Add(freeingTime); ; {
		capacity, err := m.Gauge.Capacity(ctx)
		if err != nil || capacity.FreeStorageMiB >= enoughMiB || time.Now().After(end) {
			return capacity.FreeStorageMiB, err
		}
		select {
		case <-time.After(freeingTime / 20):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// noMemory says that the host has too little memory left for a VM to start.
func noMemory(need, left int64) *coppice.Error {
	return coppice.Errorf(coppice.CodeNoMemory, "the host has %d MiB of memory left for VMs to start with, and this one needs %d: stop or suspend others, or try again later", left, need).
		With("requiredMib", need).With("availableMib", left)
}
