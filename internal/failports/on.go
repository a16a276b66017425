//go:build failpoints

package failports

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

// An effect is a method with side effects: what is before and after it.
type effect struct{ begin, done failpoint.Point }

func newEffect(method string) effect {
	return effect{failpoint.New(method), failpoint.New(method + "/done")}
}

// act calls a method with side effects for a daemon.
func act[T any](ctx context.Context, life *failpoint.Life, e effect, do func(context.Context) (T, error)) (result T, err error) {
	err = life.Call(ctx, func(ctx context.Context) error {
		if err := e.begin.Hit(ctx); err != nil {
			return failure(err)
		}
		var err error
		if result, err = do(ctx); err == nil {
			e.done.Done(ctx)
		}
		return err
	})
	return result, err
}

// failure returns err as the ports say it.
func failure(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w (%w)", coppice.ErrNoSpace, err)
	}
	return err
}

// carry is act of a method that returns nothing but an error.
func carry(ctx context.Context, life *failpoint.Life, e effect, do func(context.Context) error) error {
	_, err := act(ctx, life, e, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) })
	return err
}

// look calls a method without side effects for a daemon.
func look[T any](ctx context.Context, life *failpoint.Life, p failpoint.Point, do func(context.Context) (T, error)) (result T, err error) {
	err = life.Call(ctx, func(ctx context.Context) (err error) {
		if err := p.Look(ctx); err != nil {
			return failure(err)
		}
		result, err = do(ctx)
		return err
	})
	return result, err
}
