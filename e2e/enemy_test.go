package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// attacks are what a guest does to the host in place of its agent.
var attacks = []string{"garbage", "close", "stall", "endless", "huge", "lie", "streams", "replay"}

// A guest whose agent means harm hurts only itself: whoever asks something of it
// is told that it does not work, and everybody else is served as before.
func TestEnemyAgents(t *testing.T) {
	enemy := filepath.Join(t.TempDir(), "enemy")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", enemy, "./testdata/enemy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	c := connect(t)
	good := create(t, c)
	do(t, "%s cp %s %s:/root/", install.program, enemy, good)
	hostile := fork(t, c, good, len(attacks))
	for i, attack := range attacks {
		sh(t, c, hostile[i], fmt.Sprintf(`port=$(grep -l coppice.agent /sys/class/virtio-ports/*/name | cut -d / -f 5)
			setsid sh -c "sleep 1; pkill -KILL coppice-agent; exec /root/enemy %s /dev/$port" >/dev/null 2>&1 </dev/null &`, attack))
	}
	for _, vm := range hostile {
		await(t, "the enemy has the port", func() bool {
			return strings.Contains(do(t, "%s logs %s", install.program, vm), "enemy: it has the port")
		})
	}
	// The next daemon meets them as they are.
	killDaemon(t)
	restartDaemon(t)
	before, descriptors := peakMemory(t), entries(t, fmt.Sprintf("/proc/%d/fd", daemon(t)))
	var all sync.WaitGroup
	for i, attack := range attacks {
		all.Go(func() { suffer(t, c, hostile[i], attack) })
	}
	attacked := make(chan struct{})
	go func() {
		all.Wait()
		close(attacked)
	}()
	for served := 0; ; served++ {
		if got := sh(t, c, good, "echo served"); got != "served\n" {
			t.Errorf("another VM says %q", got)
		}
		select {
		case <-attacked:
			t.Logf("another VM was served %d times meanwhile", served)
		default:
			continue
		}
		break
	}
	if grown := peakMemory(t) - before; grown > 128<<20 {
		t.Errorf("the daemon has grown by %d MiB", grown>>20)
	}
	await(t, "the daemon has let go of everything", func() bool {
		return entries(t, fmt.Sprintf("/proc/%d/fd", daemon(t))) <= descriptors
	})
}

// suffer asks things of a hostile guest, none of which can be done, until it is
// deleted, which can.
func suffer(t *testing.T, c *client.Client, vm, attack string) {
	for range 2 { // the second time it may be on another connection
		began := time.Now()
		result, err := c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: "echo obeyed", Timeout: 10 * time.Second})
		if err == nil {
			t.Errorf("%s: a command was obeyed: %+v", attack, result)
		}
		t.Logf("%s: after %v: %v", attack, time.Since(began).Round(time.Millisecond), err)
		if _, coded := errors.AsType[*coppice.Error](err); !coded {
			t.Errorf("%s: the error has no code", attack)
		}
	}
	if now, err := c.VM(deadline(t), vm); err != nil || !slices.Contains([]api.State{api.Running}, now.State) {
		t.Errorf("%s: the VM is %s, %v", attack, now.State, err)
	}
	switch attack { // what works without an agent
	case "garbage":
		if err := suspendVM(t, c, vm); err != nil {
			t.Errorf("%s: suspend: %v", attack, err)
		}
	case "stall":
		if _, err := c.Stop(deadline(t), vm); err != nil {
			t.Errorf("%s: stop: %v", attack, err)
		}
	}
	began := time.Now()
	if _, err := c.Delete(deadline(t), vm); err != nil {
		t.Errorf("%s: delete: %v", attack, err)
	}
	t.Logf("%s: deleted in %v", attack, time.Since(began).Round(time.Millisecond))
}
