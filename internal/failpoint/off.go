//go:build !failpoints

package failpoint

import "context"

// A Point is a place that a program passes.
type Point struct{}

// A Life is what a daemon passes, and what befalls it.
type Life struct{}

// New declares a point.
func New(string) Point { return Point{} }

// Hit passes a point at which what is being done can still fail.
func (Point) Hit(context.Context) error { return nil }

// Look passes a point that comes before a look at something, which can fail.
func (Point) Look(context.Context) error { return nil }

// Done passes a point that follows a side effect, which cannot fail any more.
func (Point) Done(context.Context) {}

// List returns the names of all points.
func List() []string { return nil }
