package model

import (
	"context"
	"maps"
	"math/rand/v2"
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

// Run has clients ask until until ends, and returns what was asked of each VM and
// answered. What is under way then is waited for, as long as ctx lasts.
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
