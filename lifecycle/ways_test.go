package lifecycle

import (
	"maps"
	"slices"
	"testing"

	"github.com/coppice-vm/coppice"
)

// What may be asked in each state is "works/fails"; what is not here is refused.
func TestWays(t *testing.T) {
	offered := map[coppice.State]map[string]string{}
	for _, w := range new(Manager).Ways() {
		if offered[w.From] == nil {
			offered[w.From] = map[string]string{}
		}
		if _, twice := offered[w.From][w.Ask]; twice {
			t.Errorf("%s from %s leads to two places", w.Ask, w.From)
		}
		offered[w.From][w.Ask] = string(w.Works) + "/" + string(w.Fails)
	}
	for state, want := range map[coppice.State]map[string]string{
		coppice.Running: {"suspend": "suspended/running", "stop": "stopped/failed", "kill": "stopped/failed",
			"resize": "running/stopped", "fork": "running/running", "snapshot": "running/running", "delete": "absent/failed"},
		coppice.Suspended: {"start": "running/suspended", "stop": "stopped/failed", "kill": "stopped/failed",
			"resize": "stopped/suspended", "fork": "suspended/suspended", "snapshot": "suspended/suspended", "delete": "absent/failed"},
		coppice.Stopped: {"start": "running/stopped", "resize": "stopped/stopped",
			"fork": "stopped/stopped", "snapshot": "stopped/stopped", "delete": "absent/failed"},
		coppice.Failed: {"start": "running/stopped", "kill": "stopped/failed", "delete": "absent/failed"},
	} {
		if !maps.Equal(offered[state], want) {
			t.Errorf("%s: %v, want %v", state, offered[state], want)
		}
	}
	if got := slices.Sorted(maps.Keys(offered)); len(got) != 4 {
		t.Errorf("something can be asked from %v", got)
	}
}
