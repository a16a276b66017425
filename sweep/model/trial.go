package model

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A Host has VMs. Its methods are called concurrently.
type Host interface {
	// Create makes a VM that is as [New], and returns its id.
	Create(ctx context.Context) (string, error)
	// Ask asks a VM for what an act says, and returns how it was answered.
	Ask(ctx context.Context, vm string, a Act) (got string, err error)
}

// A Trial is of a host, by clients that ask for whatever they like.
type Trial struct {
	Clients int
	VMs     int    // that there are at a time
	Most    int    // that is asked of a VM before another takes its place
	Seed    uint64 // of what the clients choose; when they ask is up to the machine
}

// A rival is a VM that many clients are at.
type rival struct {
	vm   string
	over bool // it has been asked enough
}

// Run has clients ask until until ends, and returns what was asked of each VM and
// answered. What is under way then is waited for, as long as ctx lasts.
func (tr Trial) Run(ctx, until context.Context, h Host) (map[string][]Call, error) {
	began := time.Now()
	var mu sync.Mutex
	rivals := make([]*rival, tr.VMs)
	calls := map[string][]Call{}
	// pick returns one of the VMs, a new one in place of one that was asked enough.
	pick := func(i int) (*rival, error) {
		mu.Lock()
		defer mu.Unlock()
		if rivals[i] != nil && !rivals[i].over {
			return rivals[i], nil
		}
		vm, err := h.Create(ctx)
		rivals[i] = &rival{vm: vm}
		return rivals[i], err
	}
	var clients sync.WaitGroup
	var failed error
	for n := range tr.Clients {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(tr.Seed, uint64(n)))
			for until.Err() == nil {
				rival, err := pick(r.IntN(tr.VMs))
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = err
					return
				}
				a := Choose(r)
				a.Client = n
				c := call(ctx, h, rival.vm, a, began)
				mu.Lock()
				calls[rival.vm] = append(calls[rival.vm], c)
				rival.over = rival.over || len(calls[rival.vm]) >= tr.Most || c.Verb == "delete" && c.Err == nil
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return calls, failed
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
