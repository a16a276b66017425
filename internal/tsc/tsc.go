// Package tsc measures the frequency of the processor's time stamp counter.
package tsc

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// window is how long the counter is watched. A reading is off by a fraction of
// a microsecond, so this makes an error of a few parts in a million.
const window = 100 * time.Millisecond

// KHz returns the frequency in kHz. The first call takes a tenth of a second.
var KHz = sync.OnceValue(func() int64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	startTicks, startTime := sample()
	time.Sleep(window)
	endTicks, endTime := sample()
	return int64(float64(endTicks-startTicks) / float64(endTime-startTime) * 1e6)
})

// sample reads the counter and the clock, in nanoseconds, as close together as
// it gets in a few tries. The raw clock is the one that nobody slews.
func sample() (ticks uint64, nanos int64) {
	best := ^uint64(0)
	for range 20 {
		var now unix.Timespec
		before := read()
		unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &now)
		after := read()
		if after-before < best {
			best, ticks, nanos = after-before, before+(after-before)/2, now.Nano()
		}
	}
	return ticks, nanos
}

// read returns the counter.
func read() uint64
