package qemu

import (
	"context"
	"errors"
	"os"

	"github.com/coppice-vm/coppice/qemu/ptrace"
)

// A finisher completes a capture's memory file and returns how many bytes of
// it differ from the base.
type finisher func(ctx context.Context) (dirty uint64, err error)

// secure secures the memory of a guest that is stopped, so that finish can
// write what differs from the base to dst, which is a clone of it, whatever
// the guest does by then.
//
// There are two ways. The fast one freezes a copy of QEMU, which takes as long
// as the kernel takes to share its pages; the slow one has written everything
// when it returns.
func (r *run) secure(ctx context.Context, ram span, dst *os.File) (finisher, error) {
	if r.freezer != nil {
		frozen, err := r.freezer.Freeze()
		if err == nil {
			return func(ctx context.Context) (uint64, error) {
				dirty, err := writeChanges(ctx, dst, frozen.PID, ram)
				return dirty, errors.Join(err, frozen.Release())
			}, nil
		}
		r.log.Warn("write the guest's memory while it is paused", "because", err)
	}
	dirty, err := writeChanges(ctx, dst, r.proc.pid, ram)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (uint64, error) { return dirty, nil }, nil
}

// prepareFreezer makes the fast way possible, if the host allows to trace
// processes. It is asked once.
func (r *run) prepareFreezer(ram span) {
	if r.triedFreezer {
		return
	}
	r.triedFreezer = true
	var err error
	if r.freezer, err = ptrace.NewFreezer(r.proc.pid, ptrace.Area{Start: ram.start, End: ram.end}); err != nil {
		r.log.Warn("the memory of the guest will be written while it is paused", "because", err)
	}
}

// writeChanges writes what a process has changed of its private mapping ram to
// dst, a copy of the file that is mapped, and returns how much that is.
func writeChanges(ctx context.Context, dst *os.File, pid int, ram span) (uint64, error) {
	spans, err := privatePages(pid, ram)
	if err != nil {
		return 0, err
	}
	dirty := total(spans) // before copyPages uses them up
	return dirty, copyPages(ctx, dst, pid, ram, spans)
}
