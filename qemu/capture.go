package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/internal/reflink"
)

// Capture implements [coppice.Run]. The files of dst have to be on the file
// system of the VM's disk and memory, which has to share blocks.
func (r *run) Capture(ctx context.Context, dst coppice.CaptureFiles, leave coppice.Leave) (coppice.CaptureStats, error) {
	r.guest.Lock()
	defer r.guest.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.attached, func() { cancel(coppice.ErrNoRun) })()
	stats, err := r.capture(ctx, dst, leave)
	if err != nil {
		r.awaitEnd()
		if ended := r.alive(); ended != nil {
			err = errors.Join(ended, err)
		}
		return coppice.CaptureStats{}, fmt.Errorf("capture %s: %w", r.machine.VM, noSpace(err))
	}
	return stats, nil
}

// endTime is how long after its connections a process may end.
const endTime = time.Second

// awaitEnd returns when the end of a run is known, if it has ended: its
// connections end before the process.
func (r *run) awaitEnd() {
	ctx, cancel := context.WithTimeout(r.attached, endTime)
	defer cancel()
	if err := r.do(ctx, "query-status", nil, nil); err == nil {
		return
	}
	select {
	case <-r.ended:
	case <-r.proc.gone: // watch may wait for the guest to be let go on
		r.end(r.crash())
	case <-ctx.Done():
	}
}

func (r *run) capture(ctx context.Context, dst coppice.CaptureFiles, leave coppice.Leave) (stats coppice.CaptureStats, err error) {
	if err := r.alive(); err != nil {
		return stats, err
	}
	// Whatever takes long and can be done ahead is done while the guest runs.
	c, err := prepare(r.machine, dst)
	if err != nil {
		return stats, err
	}
	defer c.close()
	ram, err := guestRAM(r.proc.pid, c.base)
	if err != nil {
		return stats, err
	}
	r.prepareFreezer(ram)
	state, err := r.lend(ctx, c.state)
	if err != nil {
		return stats, err
	}
	defer func() {
		if err := r.takeBack(context.WithoutCancel(ctx), state); err != nil && r.alive() == nil {
			r.log.Warn("have QEMU close the file of a capture", "err", err)
		}
	}()

	stats.Paused = time.Now()
	finish, err := r.halt(ctx, c, ram, state.name())
	if leave == coppice.LeaveRunning {
		err = errors.Join(err, r.goOn(ctx))
		stats.Pause = time.Since(stats.Paused)
	}
	if finish != nil {
		dirty, failed := finish(ctx)
		err = errors.Join(err, failed)
		stats.DirtyMiB = int64((dirty + 1<<20 - 1) >> 20)
	}
	if leave == coppice.LeavePaused {
		stats.Pause = time.Since(stats.Paused)
		if r.paused = true; err != nil {
			err = errors.Join(err, r.goOn(ctx))
		}
	}
	return stats, err
}

// Points in the pause of a capture.
var (
	halted  = failpoint.New("qemu/capture/halted")
	secured = failpoint.New("qemu/capture/secured")
)

// halt stops the guest and secures what it is at that instant. The guest stays
// stopped. finish completes the memory file, whatever the guest does by then;
// it is to be called if it is not nil, also when there is an error.
func (r *run) halt(ctx context.Context, c *capture, ram span, state string) (finish finisher, err error) {
	if err := r.do(ctx, "stop", nil, nil); err != nil {
		return nil, err
	}
	if err := r.alive(); err != nil {
		return nil, err
	}
	if err := halted.Hit(ctx); err != nil {
		return nil, err
	}
	var disk errgroup.Group
	disk.Go(func() error { return reflink.CloneFile(c.diskCopy, c.disk) })
	err = r.do(ctx, "xen-save-devices-state", map[string]any{"filename": state, "live": false}, nil)
	if err == nil {
		finish, err = r.secure(ctx, ram, c.memory)
	} else if full(c.memory) { // of which QEMU says no more than that it failed
		err = fmt.Errorf("%w: %w", coppice.ErrNoSpace, err)
	}
	err = errors.Join(err, disk.Wait())
	if err == nil {
		err = secured.Hit(ctx)
	}
	return finish, err
}

// goOn lets a stopped guest execute, even if the caller's time is over. The
// caller holds r.guest.
func (r *run) goOn(ctx context.Context) error {
	if err := r.alive(); err != nil {
		return err
	}
	if err := r.do(context.WithoutCancel(ctx), "cont", nil, nil); err != nil {
		return err
	}
	r.paused = false
	return nil
}

// A capture is the files of one that is being made.
type capture struct {
	base           os.FileInfo // of the memory the guest's is a private copy of
	memory         *os.File    // to be the guest's; a clone of the base so far
	state          *os.File    // to be the devices'
	disk, diskCopy *os.File
}

// prepare makes the memory file, and opens what the pause will need.
func prepare(m coppice.Machine, dst coppice.CaptureFiles) (*capture, error) {
	c := &capture{}
	err := c.open(m, dst)
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *capture) open(m coppice.Machine, dst coppice.CaptureFiles) (err error) {
	if c.base, err = os.Stat(m.Memory); err != nil {
		return err
	}
	if err := reflink.Clone(dst.Memory, m.Memory); err != nil {
		return err
	}
	if c.memory, err = os.OpenFile(dst.Memory, os.O_WRONLY, 0); err != nil {
		return err
	}
	if c.diskCopy, err = os.OpenFile(dst.Disk, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	if c.state, err = os.OpenFile(dst.State, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	if c.disk, err = os.Open(m.Disk); err != nil {
		return err
	}
	// QEMU flushes the disk when it stops the guest. Most of it is done here.
	return unix.Fdatasync(int(c.disk.Fd()))
}

func (c *capture) close() {
	for _, f := range []*os.File{c.memory, c.state, c.disk, c.diskCopy} {
		if f != nil {
			f.Close()
		}
	}
}

// full reports whether the file system of a file has no space for a device state.
func full(f *os.File) bool {
	const stateBytes = 1 << 20
	var fs unix.Statfs_t
	err := unix.Fstatfs(int(f.Fd()), &fs)
	return err == nil && int64(fs.Bavail)*fs.Bsize < stateBytes
}

// noSpace says so when a file system is full.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w: %w", coppice.ErrNoSpace, err)
	}
	return err
}
