package lifecycle

import "github.com/coppice-vm/coppice"

// asks are what users ask of VMs, in their words, and the verbs that do it.
var asks = []struct {
	ask   string
	verbs []coppice.Verb
}{
	{"start", []coppice.Verb{coppice.Start, coppice.Resume}},
	{"suspend", []coppice.Verb{coppice.Suspend}},
	{"stop", []coppice.Verb{coppice.Stop}},
	{"kill", []coppice.Verb{coppice.Kill}},
	{"resize", []coppice.Verb{coppice.Resize}},
	{"fork", []coppice.Verb{coppice.Cut}},
	{"snapshot", []coppice.Verb{coppice.Cut}},
	{"delete", []coppice.Verb{coppice.Delete}},
}

// Ways lists what may be asked of a VM in each state, and where that leads: the
// table, in the words of users.
func (*Manager) Ways() []coppice.Way {
	var ways []coppice.Way
	for _, a := range asks {
		for _, from := range coppice.States {
			for _, verb := range a.verbs {
				if step, ok := table[verb][from]; ok {
					ways = append(ways, coppice.Way{Ask: a.ask, From: from, Works: step.Works, Fails: step.Fails})
				}
			}
		}
	}
	// A start of a lost VM kills what is left of it first: see [Manager.Start].
	return append(ways, coppice.Way{Ask: "start", From: coppice.Failed, Works: coppice.Running, Fails: coppice.Stopped})
}
