package lifecycle

import (
	"maps"
	"slices"
	"testing"

	"github.com/coppice-vm/coppice"
)

func TestWays(t *testing.T) {
	offered := map[coppice.State]map[string]coppice.State{}
	for _, w := range new(Manager).Ways() {
		if offered[w.From] == nil {
			offered[w.From] = map[string]coppice.State{}
		}
		if _, twice := offered[w.From][w.Ask]; twice {
			t.Errorf("%s from %s leads to two places", w.Ask, w.From)
		}
		offered[w.From][w.Ask] = w.Works
	}
	for state, want := range map[coppice.State]map[string]coppice.State{
		coppice.Running: {"suspend": coppice.Suspended, "stop": coppice.Stopped, "kill": coppice.Stopped,
			"resize": coppice.Running, "fork": coppice.Running, "snapshot": coppice.Running, "delete": coppice.Absent},
		coppice.Suspended: {"start": coppice.Running, "stop": coppice.Stopped, "kill": coppice.Stopped,
			"resize": coppice.Stopped, "fork": coppice.Suspended, "snapshot": coppice.Suspended, "delete": coppice.Absent},
		coppice.Stopped: {"start": coppice.Running, "resize": coppice.Stopped,
			"fork": coppice.Stopped, "snapshot": coppice.Stopped, "delete": coppice.Absent},
		coppice.Failed: {"start": coppice.Running, "kill": coppice.Stopped, "delete": coppice.Absent},
	} {
		if !maps.Equal(offered[state], want) {
			t.Errorf("%s: %v, want %v", state, offered[state], want)
		}
	}
	if got := slices.Sorted(maps.Keys(offered)); len(got) != 4 {
		t.Errorf("something can be asked from %v", got)
	}
}
