// Package failports puts points between what a daemon asks of its ports: one
// before every call, at which it can fail, and one after every call that has
// side effects. So whoever works by the ports has points between its steps and
// need not know of it.
//
// In a program that is not built with the tag failpoints nothing is put
// anywhere: a port is what it was.
package failports
