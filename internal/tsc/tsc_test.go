package tsc

import (
	"testing"
	"time"
)

// The frequency predicts the counter.
func TestKHz(t *testing.T) {
	khz := KHz()
	startTicks, startTime := sample()
	time.Sleep(20 * time.Millisecond)
	endTicks, endTime := sample()
	predicted := float64(khz) * float64(endTime-startTime) / 1e6
	if ratio := float64(endTicks-startTicks) / predicted; ratio < 0.99 || ratio > 1.01 {
		t.Errorf("%d kHz predicts %.0f ticks in %d ns, counted %d", khz, predicted, endTime-startTime, endTicks-startTicks)
	}
	if KHz() != khz {
		t.Error("a second call measured again")
	}
	t.Logf("%d kHz", khz)
}
