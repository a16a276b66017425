//go:build failpoints

package failports

import (
	"context"
	"net"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

var (
	hypervisorStart         = newEffect("Hypervisor.Start")
	hypervisorPrepare       = newEffect("Hypervisor.Prepare")
	hypervisorAttach        = newEffect("Hypervisor.Attach")
	hypervisorDiscard       = newEffect("Hypervisor.Discard")
	hypervisorRuns          = failpoint.New("Hypervisor.Runs")
	hypervisorRemoveConsole = newEffect("Hypervisor.RemoveConsole")
)

type hypervisor struct {
	coppice.Hypervisor
	life *failpoint.Life
}

// Hypervisor puts points around a hypervisor and its runs.
func Hypervisor(life *failpoint.Life, h coppice.Hypervisor) coppice.Hypervisor {
	return hypervisor{h, life}
}

func (h hypervisor) Start(ctx context.Context, m coppice.Machine) (coppice.Run, error) {
	return act(ctx, h.life, hypervisorStart, func(ctx context.Context) (coppice.Run, error) {
		return h.watched(h.Hypervisor.Start(ctx, m))
	})
}

func (h hypervisor) Prepare(ctx context.Context, m coppice.Machine) error {
	return carry(ctx, h.life, hypervisorPrepare, func(ctx context.Context) error {
		return h.Hypervisor.Prepare(ctx, m)
	})
}

func (h hypervisor) Attach(ctx context.Context, id coppice.VMID) (coppice.Run, error) {
	return act(ctx, h.life, hypervisorAttach, func(ctx context.Context) (coppice.Run, error) {
		return h.watched(h.Hypervisor.Attach(ctx, id))
	})
}

func (h hypervisor) Discard(ctx context.Context, id coppice.VMID) error {
	return carry(ctx, h.life, hypervisorDiscard, func(ctx context.Context) error {
		return h.Hypervisor.Discard(ctx, id)
	})
}

func (h hypervisor) Runs(ctx context.Context) ([]coppice.VMID, error) {
	return look(ctx, h.life, hypervisorRuns, func(ctx context.Context) ([]coppice.VMID, error) {
		return h.Hypervisor.Runs(ctx)
	})
}

func (h hypervisor) RemoveConsole(ctx context.Context, id coppice.VMID) error {
	return carry(ctx, h.life, hypervisorRemoveConsole, func(ctx context.Context) error {
		return h.Hypervisor.RemoveConsole(ctx, id)
	})
}

// watched puts points around a run.
func (h hypervisor) watched(r coppice.Run, err error) (coppice.Run, error) {
	if err != nil {
		return nil, err
	}
	return run{r, h.life}, nil
}

var (
	runCapture   = newEffect("Run.Capture")
	runResume    = newEffect("Run.Resume")
	runKill      = newEffect("Run.Kill")
	runDialAgent = failpoint.New("Run.DialAgent")
)

type run struct {
	coppice.Run
	life *failpoint.Life
}

func (r run) Capture(ctx context.Context, dst coppice.CaptureFiles, leave coppice.Leave) (coppice.CaptureStats, error) {
	return act(ctx, r.life, runCapture, func(ctx context.Context) (coppice.CaptureStats, error) {
		return r.Run.Capture(ctx, dst, leave)
	})
}

func (r run) Resume(ctx context.Context) error {
	return carry(ctx, r.life, runResume, func(ctx context.Context) error {
		return r.Run.Resume(ctx)
	})
}

func (r run) Kill(ctx context.Context) error {
	return carry(ctx, r.life, runKill, func(ctx context.Context) error {
		return r.Run.Kill(ctx)
	})
}

func (r run) DialAgent(ctx context.Context) (net.Conn, error) {
	return look(ctx, r.life, runDialAgent, func(ctx context.Context) (net.Conn, error) {
		return r.Run.DialAgent(ctx)
	})
}
