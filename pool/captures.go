package pool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

var (
	stateTrimmed = failpoint.New("pool/trim/state")
	begunRemoved = failpoint.New("pool/remove-capture/begun")
)

// BeginCapture implements [coppice.CapturePool].
func (p *Pool) BeginCapture(ctx context.Context, id coppice.CaptureID) (coppice.CaptureFiles, error) {
	if err := p.beginCapture(id); err != nil {
		return coppice.CaptureFiles{}, failure(fmt.Sprintf("begin capture %q", id), err)
	}
	return captureFiles(p.begunDir(id)), nil
}

func (p *Pool) beginCapture(id coppice.CaptureID) error {
	if !id.Valid() {
		return errInvalidID
	}
	if _, err := os.Stat(p.captureDir(id)); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(coppice.ErrExists, err)
	}
	if err := p.room(); err != nil {
		return err
	}
	if err := os.RemoveAll(p.begunDir(id)); err != nil {
		return err
	}
	return os.Mkdir(p.begunDir(id), 0o700)
}

// CommitCapture implements [coppice.CapturePool].
func (p *Pool) CommitCapture(ctx context.Context, id coppice.CaptureID) (coppice.CaptureFiles, error) {
	if err := p.commitCapture(id); err != nil {
		return coppice.CaptureFiles{}, failure(fmt.Sprintf("commit capture %q", id), err)
	}
	return p.Capture(id), nil
}

func (p *Pool) commitCapture(id coppice.CaptureID) error {
	if !id.Valid() {
		return errInvalidID
	}
	// A VM that was shut down has nothing but a disk.
	if _, err := os.Stat(captureFiles(p.begunDir(id)).Disk); err != nil {
		return err
	}
	return os.Rename(p.begunDir(id), p.captureDir(id))
}

// SyncCapture implements [coppice.CapturePool].
func (p *Pool) SyncCapture(ctx context.Context, id coppice.CaptureID) error {
	return failure(fmt.Sprintf("sync capture %q", id), syncAll(ctx, p.captureDir(id)))
}

// Capture implements [coppice.CapturePool].
func (p *Pool) Capture(id coppice.CaptureID) coppice.CaptureFiles {
	return captureFiles(p.captureDir(id))
}

// TrimCapture implements [coppice.CapturePool].
func (p *Pool) TrimCapture(ctx context.Context, id coppice.CaptureID) error {
	what := fmt.Sprintf("trim capture %q", id)
	if !id.Valid() {
		return failure(what, errInvalidID)
	}
	files := p.Capture(id)
	err := ignoreMissing(os.Remove(files.State))
	return failure(what, errors.Join(err, stateTrimmed.Hit(ctx), ignoreMissing(os.Remove(files.Disk))))
}

// RemoveCapture implements [coppice.CapturePool].
func (p *Pool) RemoveCapture(ctx context.Context, id coppice.CaptureID) error {
	what := fmt.Sprintf("remove capture %q", id)
	if !id.Valid() {
		return failure(what, errInvalidID)
	}
	err := os.RemoveAll(p.begunDir(id))
	return failure(what, errors.Join(err, begunRemoved.Hit(ctx), p.remove(ctx, p.captureDir(id))))
}

// Captures implements [coppice.CapturePool].
func (p *Pool) Captures(ctx context.Context) ([]coppice.CaptureID, error) {
	ids, err := ids[coppice.CaptureID](p.path(capturesDir))
	return ids, failure("list captures", err)
}

func (p *Pool) captureDir(id coppice.CaptureID) string { return p.path(capturesDir, string(id)) }

// begunDir is where a capture's files are until it is committed.
func (p *Pool) begunDir(id coppice.CaptureID) string { return p.path(tmpDir, string(id)) }
