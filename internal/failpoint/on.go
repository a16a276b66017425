//go:build failpoints

package failpoint

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
)

// A Point is a place that a program passes.
type Point struct{ name string }

var (
	mu    sync.Mutex
	names []string
)

// New declares a point. Every name is used once.
func New(name string) Point {
	mu.Lock()
	defer mu.Unlock()
	if slices.Contains(names, name) {
		panic(fmt.Sprintf("there are two points %q", name))
	}
	names = append(names, name)
	return Point{name}
}

// List returns the names of all points.
func List() []string {
	mu.Lock()
	defer mu.Unlock()
	return slices.Sorted(slices.Values(names))
}

// Hit passes a point at which what is being done can still fail.
func (p Point) Hit(ctx context.Context) error { return p.fail(ctx, Doing) }

// Look passes a point that comes before a look at something, which can fail.
func (p Point) Look(ctx context.Context) error { return p.fail(ctx, Looking) }

// Done passes a point that follows a side effect, which cannot fail any more.
func (p Point) Done(ctx context.Context) { LifeOf(ctx).pass(p.name, Done) }

func (p Point) fail(ctx context.Context, at Stage) error {
	life := LifeOf(ctx)
	switch f := life.pass(p.name, at); f {
	case none, Stop:
		return nil
	case Hang:
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-life.released:
			return nil
		}
	default:
		return os.NewSyscallError(p.name, syscall.Errno(f))
	}
}
