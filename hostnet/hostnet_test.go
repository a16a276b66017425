package hostnet

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
)

func TestNetwork(t *testing.T) {
	makeWorld(t)
	dir := t.TempDir()
	n := open(t, dir)
	conformance.TestNetwork(t, conformance.NetworkHost{
		Open: func() coppice.Network {
			must(t, n.Close())
			n = open(t, dir)
			return n
		},
		Plug:  func(id coppice.VMID) conformance.NetworkGuest { return plug(t, n, id) },
		World: world,
	})
	must(t, Purge(t.Context(), dir))
}

func BenchmarkSetUp(b *testing.B) {
	for _, egress := range []coppice.Egress{coppice.EgressClosed, coppice.EgressOpen} {
		b.Run(string(egress), func(b *testing.B) {
			n := New(Config{Dir: b.TempDir()})
			defer n.Close()
			var ids []coppice.VMID
			for b.Loop() {
				id := coppice.NewVMID()
				if err := n.SetUp(b.Context(), id, egress); err != nil {
					b.Fatal(err)
				}
				ids = append(ids, id)
			}
			b.StopTimer()
			for _, id := range ids {
				if err := n.TearDown(b.Context(), id); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// Whoever comes meanwhile, a network is one, and nothing is left of it.
func TestOneAtATime(t *testing.T) {
	n := open(t, t.TempDir())
	id := coppice.NewVMID()
	namespaces := func() (n int) {
		open, err := filepath.Glob("/proc/self/fd/*")
		must(t, err)
		for _, name := range open {
			if to, err := os.Readlink(name); err == nil && (strings.HasPrefix(to, "net:") || strings.Contains(to, string(id))) {
				n++
			}
		}
		return n
	}
	before := namespaces()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 10 {
				var err error
				switch i % 4 {
				case 0, 1:
					err = n.SetUp(t.Context(), id, coppice.EgressClosed)
				case 2:
					err = n.TearDown(t.Context(), id)
				case 3:
					_, err = n.Traffic(t.Context(), id)
				}
				if err != nil && !errors.Is(err, coppice.ErrNoNetwork) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	must(t, n.TearDown(t.Context(), id))
	if left := namespaces() - before; len(n.guests) != 0 || left != 0 {
		t.Errorf("it holds %v, and %d namespaces", n.guests, left)
	}
	if left, err := n.Networks(t.Context()); len(left) != 0 || err != nil {
		t.Errorf("networks left: %v, %v", left, err)
	}
}

// A tap is its machine's alone, also while other processes are started: until
// they execute, they have whatever the daemon has open.
func TestTapAmongNewProcesses(t *testing.T) {
	done := make(chan struct{})
	var starting sync.WaitGroup
	for range 4 {
		starting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				process := exec.Command("/bin/true")
				process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} // takes its time
				if err := process.Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	ns, err := newNamespace(func() error {
		for range 100 {
			if err := makeTap(); err != nil {
				return err
			}
			tap, err := openTap()
			if err != nil {
				return err
			}
			if err := errors.Join(tap.Close(), removeLink(tapName)); err != nil {
				return err
			}
		}
		return nil
	})
	close(done)
	starting.Wait()
	must(t, err)
	must(t, ns.Close())
}

// Networks that are made at the same time have nothing to do with each other.
// The race detector is what looks.
func TestManyAtATime(t *testing.T) {
	n := open(t, t.TempDir())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				id := coppice.NewVMID()
				if err := errors.Join(n.SetUp(t.Context(), id, coppice.EgressOpen), n.TearDown(t.Context(), id)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
