package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

var cycles = flag.Int("cycles", 6, "how many VMs are made, forked, suspended, resumed and deleted on the search for leaks")

// What a daemon makes ahead that was told nothing else.
const (
	defaultSpares = "2"
	defaultHusks  = "2"
)

// tolerated is by how much the memory of a daemon may differ without anything
// being lost: what is collected, and when, is the collector's affair.
const tolerated = 24 << 20

// A stock is what a daemon and its host have of what must not grow.
type stock struct {
	goroutines, descriptors, threads, children int // of the daemon
	processes, namespaces, mounts, files       int // of the host, that are the daemon's
	memory                                     int // of the daemon, in bytes
}

// exceeds says of what there is more than before.
func (s stock) exceeds(before stock) (more []string) {
	for _, of := range []struct {
		what          string
		before, after int
	}{
		{"goroutines", before.goroutines, s.goroutines}, {"descriptors", before.descriptors, s.descriptors},
		{"children", before.children, s.children}, {"processes", before.processes, s.processes},
		{"namespaces", before.namespaces, s.namespaces}, {"mounts", before.mounts, s.mounts},
		{"files", before.files, s.files}, {"bytes of memory", before.memory + tolerated, s.memory},
	} {
		if of.after > of.before {
			more = append(more, fmt.Sprintf("%d %s, and %d before", of.after, of.what, of.before))
		}
	}
	return more
}

// VMs that come and go leave nothing in the daemon or on the host. Links, rules
// and control groups have VMs' names: the audit at the end looks for them.
func TestLeaks(t *testing.T) {
	c := connect(t)
	live := func(n int) {
		var wg sync.WaitGroup
		turns := make(chan struct{}, 2)
		for range n {
			turns <- struct{}{}
			wg.Go(func() {
				defer func() { <-turns }()
				if err := cycle(deadline(t), c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	live(2) // so that what is kept for good is there
	await(t, "the daemon has come to rest", func() bool { return rests(t) })
	before := takeStock(t)
	live(*cycles)
	var after stock
	var more []string
	defer func() {
		t.Logf("%d cycles; before them %+v, after them %+v", *cycles, before, after)
		if t.Failed() {
			t.Logf("more than before: %q", more)
		}
	}()
	await(t, "there is no more than before", func() bool {
		after = takeStock(t)
		more = after.exceeds(before)
		return rests(t) && len(more) == 0
	})
}

// cycle is the life of a VM and of its child.
func cycle(ctx context.Context, c *client.Client) error {
	vm, err := c.Create(ctx, api.CreateVM{})
	if err != nil {
		return err
	}
	forked, err := c.Fork(ctx, vm.ID, api.ForkVM{Count: new(1)})
	_, suspendErr := c.Suspend(ctx, vm.ID)
	_, startErr := c.Start(ctx, vm.ID, api.StartVM{})
	_, deleteErr := c.Delete(ctx, vm.ID)
	errs := []error{err, suspendErr, startErr, deleteErr}
	for _, child := range forked.Forks {
		_, err := c.Delete(ctx, child.ID)
		errs = append(errs, err)
	}
	for _, e := range forked.Errors {
		errs = append(errs, errors.New(e.Message))
	}
	return errors.Join(errs...)
}

// rests reports whether a daemon has made ahead what it makes ahead.
func rests(t *testing.T) bool {
	t.Helper()
	text := scrape(t)
	return strings.Contains(text, `coppice_ready{kind="spare"} `+defaultSpares) && strings.Contains(text, `coppice_ready{kind="husk"} `+defaultHusks)
}

// takeStock counts what there is now.
func takeStock(t *testing.T) (s stock) {
	t.Helper()
	text := scrape(t)
	s.goroutines, s.memory = figure(t, text, "go_goroutines"), figure(t, text, "go_memstats_heap_inuse_bytes")
	pid := strconv.Itoa(daemon(t))
	s.descriptors = entries(t, "/proc/"+pid+"/fd")
	s.threads = entries(t, "/proc/"+pid+"/task")
	namespaces := map[string]bool{}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		command, _ := os.ReadFile(process + "/cmdline")
		if stat, _ := os.ReadFile(process + "/stat"); strings.Contains(string(stat), ") S "+pid+" ") || strings.Contains(string(stat), ") Z "+pid+" ") {
			s.children++
		}
		if !strings.Contains(string(command), string(install.data)) {
			continue
		}
		s.processes++
		for _, kind := range []string{"net", "mnt", "pid", "ipc", "uts"} {
			if name, err := os.Readlink(process + "/ns/" + kind); err == nil {
				namespaces[name] = true
			}
		}
	}
	s.namespaces = len(namespaces)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	s.mounts = strings.Count(string(mounts), string(install.data))
	if err := filepath.WalkDir(string(install.data), func(_ string, _ fs.DirEntry, err error) error {
		if s.files++; errors.Is(err, fs.ErrNotExist) {
			err = nil // it is being removed
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// entries counts what is in a directory, which need not be there.
func entries(t *testing.T, dir string) int {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return len(found)
}

// figure returns a figure of the daemon's metrics.
func figure(t *testing.T, text, name string) int {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if line == nil {
		t.Fatalf("there is no %s in\n%s", name, text)
	}
	f, err := strconv.ParseFloat(line[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(f)
}
