package hostnet

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// connecting returns how many sockets of a VM's namespace wait for an answer.
func (n *Network) connecting(t *testing.T, id coppice.VMID) (count int) {
	t.Helper()
	must(t, n.inside(id, func() error {
		table, err := os.ReadFile("/proc/thread-self/net/tcp")
		for line := range strings.Lines(string(table)) {
			if fields := strings.Fields(line); len(fields) > 3 && fields[3] == "02" { // TCP_SYN_SENT
				count++
			}
		}
		return err
	}))
	return count
}

// Those who dial a guest that does not answer hold no thread each, and have done
// when they have enough of it, or when the network goes.
func TestDialSilence(t *testing.T) {
	n := open(t, t.TempDir())
	id, guest := attach(t, n, coppice.EgressClosed)
	guest.Unplug()
	const dialling = 200
	threads := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		must(t, err)
		return len(tasks)
	}
	before := threads()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begin := func(ctx context.Context) <-chan error {
		ended := make(chan error, dialling)
		for range dialling {
			go func() {
				conn, err := n.Dial(ctx, id, 80)
				if err == nil {
					conn.Close()
				}
				ended <- err
			}()
		}
		for late := time.Now().Add(time.Minute); n.connecting(t, id) != dialling; time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%d connections are being made, want %d", n.connecting(t, id), dialling)
			}
		}
		return ended
	}
	end := func(ended <-chan error, want error) {
		t.Helper()
		late := time.After(10 * time.Second)
		for range dialling {
			select {
			case err := <-ended:
				if !errors.Is(err, want) {
					t.Errorf("it ended with %v, want %v", err, want)
				}
			case <-late:
				t.Fatal("it goes on")
			}
		}
	}
	ended := begin(ctx)
	if more := threads() - before; more >= dialling/2 {
		t.Errorf("there are %d threads more", more)
	}
	cancel()
	end(ended, context.Canceled)
	if left := n.connecting(t, id); left != 0 {
		t.Errorf("%d sockets are left", left)
	}
	ended = begin(t.Context())
	must(t, n.TearDown(t.Context(), id))
	end(ended, coppice.ErrNoNetwork)
}
