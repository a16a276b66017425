//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/sweep/model"
)

var (
	modelTime = flag.Duration("model-time", 5*time.Second, "how long clients issue random verbs")
	modelSeed = flag.Uint64("model-seed", 0, "of what the clients choose; 0 is one by the clock")
)

// replays is how often what is asked at the same time is asked again: it depends on who
// is quicker what is answered.
const replays = 50

// TestModel has many clients ask whatever they like of the same VMs at the same
// time, and holds the answers against a VM that does one thing at a time. What
// fails is made smaller and printed, as TestSeeds reads it.
func TestModel(t *testing.T) {
	trial := model.Trial{Clients: 16, VMs: 4, Most: 60, Seed: *modelSeed}
	if trial.Seed == 0 {
		trial.Seed = uint64(time.Now().UnixNano())
	}
	cradle := newCradle(t)
	w, err := cradle.world(0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	until, cancel := context.WithTimeout(t.Context(), *modelTime)
	defer cancel()
	histories, err := trial.Run(t.Context(), until, rivals{w})
	if err != nil {
		t.Errorf("create: %v", err)
	}
	asked, worked := 0, map[string]int{}
	for id, calls := range histories {
		asked += len(calls)
		for _, call := range calls {
			if call.Err == nil {
				worked[call.Verb]++
			}
		}
		err := model.Check(calls)
		if err == nil {
			continue
		}
		first := !t.Failed() // one is enough to be made smaller
		t.Errorf("seed %d, VM %s: %v", trial.Seed, id, err)
		if first {
			t.Error(minimised(t, cradle, model.Acts(calls)))
		}
	}
	if never := model.Never(histories); asked < trial.Clients || len(never) > 0 {
		t.Errorf("of %d calls none of these ever worked: %v", asked, never)
	}
	if err := errors.Join(w.raze(t.Context()), w.inOrder(t.Context()), w.empty(t.Context())); err != nil {
		t.Errorf("seed %d: %v\n%s", trial.Seed, err, w.log)
	}
	t.Logf("%d calls of %d clients, at %d VMs; these worked: %v; seed %d", asked, trial.Clients, len(histories), worked, trial.Seed)
}

// TestSeeds asks for what has once been answered wrongly, and for whatever else is in
// testdata/model.
func TestSeeds(t *testing.T) {
	names, err := filepath.Glob("testdata/model/*")
	if err != nil || len(names) == 0 {
		t.Fatal("there are none: ", err)
	}
	cradle := newCradle(t)
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			acts, err := model.Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := replay(t, cradle, acts); err != nil {
				t.Errorf("%v\n%s", err, minimised(t, cradle, acts))
			}
		})
	}
}

// minimised makes acts that were answered wrongly as few as it can.
func minimised(t *testing.T, c *cradle, acts []model.Act) string {
	fewer := model.Minimise(acts, func(acts []model.Act) bool { return replay(t, c, acts) != nil })
	err := replay(t, c, fewer)
	if err == nil {
		return "that does not happen again when the same is asked again; to keep it all the same, write to sweep/testdata/model/NAME:\n" + model.Format(fewer)
	}
	return "made smaller, as it is to be kept in sweep/testdata/model/NAME:\n" + model.Format(fewer) + "which fails like this: " + err.Error()
}

// replay asks a host for acts until they are answered wrongly, or often enough.
func replay(t *testing.T, c *cradle, acts []model.Act) error {
	w, err := c.world(0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	var plays errgroup.Group
	plays.SetLimit(*abreast)
	for range replays {
		plays.Go(func() error {
			calls, err := model.Play(t.Context(), rivals{w}, acts)
			if err != nil {
				return err
			}
			return model.Check(calls)
		})
	}
	return errors.Join(plays.Wait(), w.inOrder(t.Context()), w.empty(t.Context()))
}

// rivals are the VMs of a world, which many clients are at.
type rivals struct{ *world }

func (w rivals) Create(ctx context.Context) (string, error) {
	vm, err := w.world.Create(ctx, coppice.NewVM{Account: alice})
	return string(vm.ID), err
}

func (w rivals) Ask(ctx context.Context, vm string, a model.Act) (got string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id := coppice.VMID(vm)
	switch a.Verb {
	case "start":
		_, err = w.Start(ctx, alice, id, coppice.StartOptions{})
	case "stop":
		_, err = w.Stop(ctx, alice, id)
	case "kill":
		_, err = w.Kill(ctx, alice, id)
	case "suspend":
		_, err = w.Suspend(ctx, alice, id)
	case "delete":
		_, err = w.Delete(ctx, alice, id)
	case "resize":
		cpus, numberErr := strconv.Atoi(a.Arg)
		_, resizeErr := w.Resize(ctx, alice, id, coppice.ResizeSpec{VCPUs: &cpus})
		err = errors.Join(numberErr, resizeErr)
	case "fork":
		forks, err := w.Fork(ctx, alice, id, coppice.ForkSpec{Count: 1})
		if err != nil {
			return "", err
		}
		return w.seen(ctx, forks[0].VM.ID, forks[0].Err)
	case "snapshot":
		snapshot, err := w.TakeSnapshot(ctx, alice, id, "", coppice.Persistence{})
		if err != nil {
			return "", err
		}
		made, err := w.world.Create(ctx, coppice.NewVM{Account: alice, Snapshot: snapshot.ID})
		got, err := w.seen(ctx, made.ID, err)
		return got, errors.Join(err, w.DeleteSnapshot(ctx, alice, snapshot.ID))
	default:
		got, err = w.exec(ctx, id, strings.TrimSpace(a.Verb+" "+a.Arg))
		if errors.Is(err, coppice.ErrGuestGone) { // in the words in which users are told
			err = coppice.Errorf(coppice.CodeUnavailable, "%w", err)
		}
		return got, err
	}
	return "", err
}

// seen returns what is in a VM that was made of another, and removes it. Nobody else
// is at that one: no error is in order, whatever its code.
func (w rivals) seen(ctx context.Context, id coppice.VMID, err error) (string, error) {
	if err != nil {
		return "", fmt.Errorf("it was not made: %v", err)
	}
	memory, keptErr := w.exec(ctx, id, "kept")
	disk, readErr := w.exec(ctx, id, "read")
	_, deleteErr := w.Delete(ctx, alice, id)
	if err := errors.Join(keptErr, readErr, deleteErr); err != nil {
		return "", fmt.Errorf("in what was made of it: %v", err)
	}
	return model.Seen(memory, disk), nil
}
