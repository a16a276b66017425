// Package sweep_test has a daemon die and fail at every point it passes, and
// looks at what the next one makes of it: the real lifecycle, store and
// pool, with machines, networks and guests in memory. Its tests take the build
// tag failpoints.
package sweep_test
