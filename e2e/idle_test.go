package e2e

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// createIdle makes a VM that is reclaimed when it is idle for so long.
func createIdle(t *testing.T, c *client.Client, seconds float64, p *api.Persistence) string {
	t.Helper()
	vm, err := c.Create(deadline(t), api.CreateVM{VMSpec: api.VMSpec{
		IdleTimeoutSeconds: api.IdleTimeout{Set: true, Seconds: &seconds}, Persistence: p,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, c, vm.ID) })
	return vm.ID
}

// A VM that nobody uses is suspended in time, one that works is not, and whoever
// comes finds it as it was.
func TestIdleVMIsSuspended(t *testing.T) {
	c := connect(t)
	const timeout = 3
	vm := createIdle(t, c, timeout, nil)
	if got := sh(t, c, vm, "echo kept >/dev/shm/note; timeout 8 sh -c 'while :; do :; done'; echo $?"); got != "124\n" {
		t.Errorf("a command that took longer than the timeout: %q", got)
	}
	idleSince := time.Now()
	info, err := c.VM(deadline(t), vm)
	if err != nil || info.State != api.Running || info.ReclaimAt == nil || info.ReclaimAt.Before(idleSince) {
		t.Errorf("after it: %+v, %v", info, err)
	}
	info = awaitState(t, c, vm, api.Suspended)
	if took := time.Since(idleSince); took < timeout*time.Second || took > timeout*time.Second+15*time.Second {
		t.Errorf("it was suspended after %v", took)
	}
	if info.Reason != "it was idle for 3s" {
		t.Errorf("reason %q", info.Reason)
	}

	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			var note string
			var err error
			if i%2 == 0 {
				var result api.ExecResult
				result, err = c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: "cat /dev/shm/note"})
				note = result.Stdout
			} else {
				note, err = readFile(t, c, vm, "/dev/shm/note")
			}
			if err != nil || note != "kept\n" {
				t.Errorf("caller %d: %q, %v", i, note, err)
			}
		})
	}
	wg.Wait()
	history, err := c.History(deadline(t), vm, 0)
	if err != nil {
		t.Fatal(err)
	}
	resumes := 0
	for _, e := range history.Events {
		if e.Event == "resumed" {
			resumes++
		}
	}
	if resumes != 1 {
		t.Errorf("20 callers resumed it %d times: %+v", resumes, history.Events)
	}
	awaitState(t, c, vm, api.Suspended)
	if note, err := readFile(t, c, vm, "/dev/shm/note"); err != nil || note != "kept\n" {
		t.Errorf("a file call: %q, %v", note, err)
	}
}

// An ephemeral VM that nobody uses goes, and nothing of it stays.
func TestIdleEphemeralVMIsDeleted(t *testing.T) {
	c := connect(t)
	forever := create(t, c)
	vm := createIdle(t, c, 2, &api.Persistence{Type: "ephemeral"})
	for ctx := deadline(t); ; time.Sleep(50 * time.Millisecond) {
		if info, err := c.VM(ctx, vm); err != nil || info.Deleted {
			if info.Reason != "it was idle for 2s" {
				t.Errorf("%+v, %v", info, err)
			}
			break
		}
	}
	if _, err := c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: "true"}); coppice.CodeOf(err) != coppice.CodeVMDeleted {
		t.Errorf("exec: %v", err)
	}
	history, err := c.History(deadline(t), vm, 0)
	if n := len(history.Events); err != nil || n == 0 || history.Events[n-1].Event != "deleted" || history.Events[n-1].Reason != "it was idle for 2s" {
		t.Errorf("history: %+v, %v", history, err)
	}
	if _, err := c.Start(deadline(t), vm, api.StartVM{}); coppice.CodeOf(err) != coppice.CodeVMDeleted {
		t.Errorf("start: %v", err)
	}
	filepath.WalkDir(string(install.data), func(name string, _ os.DirEntry, _ error) error {
		if strings.Contains(name, vm) {
			t.Errorf("%s is left", name)
		}
		return nil // what is gone by now does not matter
	})
	if info := awaitState(t, c, forever, api.Running); info.ReclaimAt != nil {
		t.Errorf("a VM without a timeout is reclaimed at %v", info.ReclaimAt)
	}
}

func readFile(t *testing.T, c *client.Client, vm, name string) (string, error) {
	f, err := c.Files(vm, "").Open(deadline(t), name)
	if err != nil {
		return "", err
	}
	defer f.Content.Close()
	b, err := io.ReadAll(f.Content)
	return string(b), err
}
