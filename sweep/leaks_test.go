//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

var cycles = flag.Int("cycles", 300, "how many VMs are made, forked, suspended, resumed and deleted")

// A stock is what a daemon and its host have of what must not grow.
type stock struct{ goroutines, descriptors, files, vms, captures int }

// exceeds reports whether there is more of something. There may be less of what
// was still ending when it was counted.
func (s stock) exceeds(before stock) bool {
	return s.goroutines > before.goroutines || s.descriptors > before.descriptors || s.files > before.files ||
		s.vms > before.vms || s.captures > before.captures
}

// TestLeaks makes, forks, suspends, resumes and deletes VMs, many times, and
// holds that the daemon and its host have then what they had before.
func TestLeaks(t *testing.T) {
	w, err := newCradle(t).world(0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	w.cycles(t, 50) // so that what is kept for good is there
	before := w.stock(t)
	w.cycles(t, *cycles)
	after := w.stock(t)
	for end := time.Now().Add(settleTime); after.exceeds(before) && time.Now().Before(end); after = w.stock(t) {
		time.Sleep(settleTime / 100) // what ends by itself has not yet
	}
	if after.exceeds(before) {
		var b strings.Builder
		pprof.Lookup("goroutine").WriteTo(&b, 1)
		t.Errorf("before %d cycles %+v, after them %+v, with these goroutines:\n%s", *cycles, before, after, &b)
	}
	t.Logf("%d cycles; before them %+v, after them %+v", *cycles, before, after)
}

// cycles has VMs live, some at a time.
func (w *world) cycles(t *testing.T, n int) {
	var wg sync.WaitGroup
	turns := make(chan struct{}, *abreast)
	for range n {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			if err := w.cycle(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// cycle is the life of a VM and of its child.
func (w *world) cycle(ctx context.Context) error {
	vm, err := w.Create(ctx, coppice.NewVM{Account: alice})
	if err != nil {
		return err
	}
	forks, err := w.Fork(ctx, alice, vm.ID, coppice.ForkSpec{Count: 1})
	if err != nil {
		return err
	}
	_, suspendErr := w.Suspend(ctx, alice, vm.ID)
	_, startErr := w.Start(ctx, alice, vm.ID, coppice.StartOptions{})
	_, deleteErr := w.Delete(ctx, alice, vm.ID)
	_, childErr := w.Delete(ctx, alice, forks[0].VM.ID)
	return errors.Join(forks[0].Err, suspendErr, startErr, deleteErr, childErr)
}

// stock counts when the daemon has come to rest.
func (w *world) stock(t *testing.T) (s stock) {
	t.Helper()
	if err := errors.Join(w.inOrder(t.Context()), w.empty(t.Context())); err != nil {
		t.Fatalf("%v\n%s", err, w.log)
	}
	w.quiet()
	vms, vmsErr := w.db.VMs(t.Context(), coppice.VMFilter{})
	captures, capturesErr := w.db.Captures(t.Context(), "")
	walkErr := filepath.WalkDir(filepath.Join(w.dir, "pool"), func(string, fs.DirEntry, error) error {
		s.files++
		return nil
	})
	descriptors, fdErr := os.ReadDir("/proc/self/fd")
	for _, fd := range descriptors {
		// The store has as many connections as were ever needed at a time, up to a few.
		if name, _ := os.Readlink("/proc/self/fd/" + fd.Name()); !strings.HasPrefix(name, filepath.Join(w.dir, "coppice.db")) {
			s.descriptors++
		}
	}
	if err := errors.Join(vmsErr, capturesErr, walkErr, fdErr); err != nil {
		t.Fatal(err)
	}
	s.vms, s.captures, s.goroutines = len(vms), len(captures), runtime.NumGoroutine()
	return s
}
