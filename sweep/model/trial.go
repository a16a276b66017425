package model

import (
	"context"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Host has VMs. Its methods are called concurrently.
type Host interface {
	// Create makes a VM that is as [New], and returns its id.
	Create(ctx context.Context) (string, error)
	// Ask asks a VM for what an act says, and returns how it was answered.
	Ask(ctx context.Context, vm string, a Act) (got string, err error)
}

// A Trial is of a host, by clients that ask for whatever they like. Each stays with a
// group of others, who are all at one VM.
type Trial struct {
	Clients int
	VMs     int    // that there are at a time
	Most    int    // that is asked of a VM before another takes its place
	Seed    uint64 // of what the clients choose; when they ask is up to the machine
}

// A group is of clients that are at one VM, and then at another.
type group struct {
	mu    sync.Mutex
	vm    string // none if it is to be made
	calls map[string][]Call
}

// Run has clients ask until until ends, then one client of each group ask for everything
// there is with nobody beside it, and returns what was asked of each VM and answered.
// What is under way is waited for, as long as ctx lasts.
func (tr Trial) Run(ctx, until context.Context, h Host) (map[string][]Call, error) {
	began := time.Now()
	groups := make([]group, tr.VMs)
	var clients errgroup.Group
	for n := range tr.Clients {
		clients.Go(func() error {
			g, r := &groups[n%tr.VMs], rand.New(rand.NewPCG(tr.Seed, uint64(n)))
			for until.Err() == nil {
				vm, err := g.pick(ctx, h)
				if err != nil {
					return err
				}
				a := Choose(r)
				a.Client = n
				g.add(vm, call(ctx, h, vm, a, began), tr.Most)
			}
			return nil
		})
	}
	err := clients.Wait()
	for i := range groups {
		clients.Go(func() error { return groups[i].conclude(ctx, h, i, began) })
	}
	err = errors.Join(err, clients.Wait())
	calls := map[string][]Call{}
	for i := range groups {
		maps.Copy(calls, groups[i].calls)
	}
	return calls, err
}

// pick returns the VM that a group is at, and makes one if need be.
func (g *group) pick(ctx context.Context, h Host) (vm string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.vm == "" {
		g.vm, err = h.Create(ctx)
	}
	return g.vm, err
}

// add adds a call of a VM, which is left if that was the last of most.
func (g *group) add(vm string, c Call, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls == nil {
		g.calls = map[string][]Call{}
	}
	g.calls[vm] = append(g.calls[vm], c)
	if g.vm == vm && (len(g.calls[vm]) >= most || c.Verb == "delete" && c.Err == nil) {
		g.vm = ""
	}
}

// conclusion has every verb, and each finds a VM in which it has something to do.
var conclusion = []Act{
	{Verb: "start"}, {Verb: "keep", Arg: "last"}, {Verb: "kept"}, {Verb: "write", Arg: "last"}, {Verb: "read"},
	{Verb: "fork"}, {Verb: "snapshot"}, {Verb: "suspend"}, {Verb: "kept"}, {Verb: "resize", Arg: "1"}, {Verb: "resize", Arg: "2"},
	{Verb: "kill"}, {Verb: "start"}, {Verb: "stop"}, {Verb: "delete"},
}

// conclude has one client ask the VM that a group is at for everything.
func (g *group) conclude(ctx context.Context, h Host, client int, began time.Time) error {
	vm, err := g.pick(ctx, h)
	if err != nil {
		return err
	}
	for _, a := range conclusion {
		a.Client = client
		g.add(vm, call(ctx, h, vm, a, began), math.MaxInt)
	}
	return nil
}

// Never returns the verbs that never worked, in whatever was asked of VMs.
func Never(histories map[string][]Call) (verbs []string) {
	for verb := range shares {
		worked := func(c Call) bool { return c.Verb == verb && c.Err == nil }
		if !slices.ContainsFunc(slices.Concat(slices.Collect(maps.Values(histories))...), worked) {
			verbs = append(verbs, verb)
		}
	}
	return verbs
}

func call(ctx context.Context, h Host, vm string, a Act, began time.Time) Call {
	c := Call{Act: a, Begin: time.Since(began)}
	c.Got, c.Err = h.Ask(ctx, vm, a)
	c.End = time.Since(began)
	return c
}

// Play asks a new VM for acts, and at last to be deleted, and returns how that was answered.
func Play(ctx context.Context, h Host, acts []Act) ([]Call, error) {
	vm, err := h.Create(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var mu sync.Mutex
	var calls []Call
	for _, round := range rounds(acts) {
		var clients sync.WaitGroup
		for _, own := range round {
			clients.Go(func() {
				for _, a := range own {
					c := call(ctx, h, vm, a, began)
					mu.Lock()
					calls = append(calls, c)
					mu.Unlock()
				}
			})
		}
		clients.Wait()
	}
	return append(calls, call(ctx, h, vm, Act{Verb: "delete"}, began)), nil
}

// rounds returns what each client asks for, between those moments at which all that was
// asked before has been answered.
func rounds(acts []Act) (rounds []map[int][]Act) {
	for i, a := range acts {
		if i == 0 || a.After {
			rounds = append(rounds, map[int][]Act{})
		}
		own := rounds[len(rounds)-1]
		own[a.Client] = append(own[a.Client], a)
	}
	return rounds
}
