package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/sweep/model"
)

var (
	modelTime = flag.Duration("model-time", 10*time.Second, "how long TestModel has clients ask for random verbs")
	modelSeed = flag.Uint64("model-seed", 0, "of what the clients of TestModel choose; 0 is one by the clock")
)

// TestModel has many clients ask whatever they like of the same VMs at the same
// time, and holds the answers against a VM that does one thing at a time. What is
// printed when that fails can be made smaller by the sweep, with machines in memory.
func TestModel(t *testing.T) {
	c := connect(t)
	trial := model.Trial{Clients: 16, VMs: 3, Most: 60, Seed: *modelSeed}
	if trial.Seed == 0 {
		trial.Seed = uint64(time.Now().UnixNano())
	}
	until, cancel := context.WithTimeout(t.Context(), *modelTime)
	defer cancel()
	histories, err := trial.Run(t.Context(), until, rivals{t, c})
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
		if err := model.Check(calls); err != nil {
			t.Errorf("seed %d, VM %s: %v\nfor sweep/testdata/model, where TestSeeds makes it smaller if it can:\n%s", trial.Seed, id, err, model.Format(model.Acts(calls)))
		}
	}
	if never := model.Never(histories); asked < trial.Clients || len(never) > 0 {
		t.Errorf("of %d calls none of these ever worked: %v", asked, never)
	}
	t.Logf("%d calls of %d clients, at %d VMs; these worked: %v; seed %d", asked, trial.Clients, len(histories), worked, trial.Seed)
}

// rivals are VMs that many clients are at, and that go with the test.
type rivals struct {
	*testing.T
	*client.Client
}

// What keeps a value and writes one does that at once, or not at all: a file takes the
// place of another, and a block goes past all caches.
const (
	keep  = `echo %s >/dev/shm/new.$$ && mv -T /dev/shm/new.$$ /dev/shm/kept`
	kept  = `test ! -e /dev/shm/kept || cat /dev/shm/kept`
	write = `echo %s | dd of=/root/written bs=4096 conv=notrunc,sync oflag=direct status=none`
	read  = `dd if=/root/written bs=4096 count=1 iflag=direct status=none | tr -d '\0'`
)

func (r rivals) Create(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	vm, err := r.Client.Create(ctx, api.CreateVM{VMSpec: api.VMSpec{IdleTimeoutSeconds: never, VCPUCount: new(1)}})
	if err != nil {
		return "", err
	}
	r.Cleanup(func() { remove(r.T, r.Client, vm.ID) })
	_, err = r.inside(ctx, vm.ID, fmt.Sprintf("echo %s | dd of=/root/written bs=4096 conv=sync,fsync status=none", model.New.Disk))
	return vm.ID, err
}

func (r rivals) Ask(ctx context.Context, vm string, a model.Act) (got string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	switch a.Verb {
	case "start":
		_, err = r.Start(ctx, vm, api.StartVM{})
	case "stop":
		_, err = r.Stop(ctx, vm)
	case "kill":
		_, err = r.Kill(ctx, vm)
	case "suspend":
		_, err = r.Suspend(ctx, vm)
	case "delete":
		_, err = r.Delete(ctx, vm)
	case "resize":
		cpus, numberErr := strconv.Atoi(a.Arg)
		_, resizeErr := r.Resize(ctx, vm, api.ResizeVM{VCPUCount: &cpus})
		err = errors.Join(numberErr, resizeErr)
	case "fork":
		forked, err := r.Client.Fork(ctx, vm, api.ForkVM{Count: new(1)})
		if err != nil {
			return "", err
		}
		return r.seen(ctx, forked.Forks[0].ID)
	case "snapshot":
		snapshot, err := r.TakeSnapshot(ctx, vm, api.TakeSnapshot{})
		if err != nil {
			return "", err
		}
		var got string
		made, err := r.Client.Create(ctx, api.CreateVM{VMSpec: api.VMSpec{IdleTimeoutSeconds: never, SnapshotID: &snapshot.SnapshotID}})
		if err == nil {
			got, err = r.seen(ctx, made.ID)
		}
		_, deleteErr := r.DeleteSnapshot(ctx, snapshot.SnapshotID)
		return got, errors.Join(err, deleteErr)
	case "keep":
		return r.inside(ctx, vm, fmt.Sprintf(keep, a.Arg))
	case "kept":
		return r.inside(ctx, vm, kept)
	case "write":
		return r.inside(ctx, vm, fmt.Sprintf(write, a.Arg))
	case "read":
		return r.inside(ctx, vm, read)
	default:
		err = fmt.Errorf("there is no verb %s", a.Verb)
	}
	return "", err
}

// inside runs a script in a VM and returns what it prints.
func (r rivals) inside(ctx context.Context, vm, script string) (string, error) {
	result, err := r.ExecAwait(ctx, vm, coppice.ExecSpec{Command: script})
	if err == nil && result.StatusCode != 0 { // a guest that shuts down ends what runs in it
		err = coppice.Errorf(coppice.CodeUnavailable, "status %d: %s", result.StatusCode, result.Stderr)
	}
	return strings.TrimSpace(result.Stdout), err
}

// seen returns what is in a VM that was made of another, which it removes. Nobody else
// is at that one: no error is in order, whatever its code.
func (r rivals) seen(ctx context.Context, vm string) (string, error) {
	memory, keptErr := r.inside(ctx, vm, kept)
	disk, readErr := r.inside(ctx, vm, read)
	_, deleteErr := r.Delete(ctx, vm)
	if err := errors.Join(keptErr, readErr, deleteErr); err != nil {
		return "", fmt.Errorf("in what was made of it: %v", err)
	}
	return model.Seen(memory, disk), nil
}
