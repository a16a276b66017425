package e2e

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// Where storage is short, a sticky VM that does not run goes, and no other.
func TestEviction(t *testing.T) {
	c := connect(t)
	kept := func(as string) string {
		vm, err := c.Create(deadline(t), api.CreateVM{VMSpec: api.VMSpec{
			IdleTimeoutSeconds: never, Persistence: &api.Persistence{Type: as},
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, c, vm.ID) })
		sh(t, c, vm.ID, "head -c 4M /dev/urandom >/root/own; sync")
		return vm.ID
	}
	running, sticky, persistent := kept("sticky"), kept("sticky"), kept("persistent")
	for _, vm := range []string{sticky, persistent} {
		if _, err := c.Suspend(deadline(t), vm); err != nil {
			t.Fatal(err)
		}
	}
	// The VM that up looks after does not go either if it runs.
	if out, err := exec.CommandContext(deadline(t), install.program, "exec", "hello", "--", "true").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("short", func(t *testing.T) {
		t.Setenv("COPPICE_EVICT_BELOW", "100000G")
		t.Setenv("COPPICE_EVICT_UNTIL", "100000G")
		restartDaemon(t)
		ctx := deadline(t)
		for vm, err := c.VM(ctx, sticky); !vm.Deleted; vm, err = c.VM(ctx, sticky) {
			if ctx.Err() != nil {
				t.Fatalf("it was not evicted: %+v, %v", vm, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		awaitState(t, c, running, api.Running)
		awaitState(t, c, persistent, api.Suspended)
	})
	restartDaemon(t)
	if _, err := c.ExecAwait(deadline(t), sticky, coppice.ExecSpec{Command: "true"}); coppice.CodeOf(err) != coppice.CodeVMDeleted {
		t.Errorf("exec: %v", err)
	}
	history, err := c.History(deadline(t), sticky, 0)
	if n := len(history.Events); err != nil || n == 0 || !strings.HasPrefix(history.Events[n-1].Reason, "it was evicted") {
		t.Errorf("history: %+v, %v", history, err)
	}
}
