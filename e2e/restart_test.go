package e2e

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

var restartVMs = flag.Int("restart-vms", 5, "how many VMs TestDaemonRestart has")

const (
	// answerTime is how long the API may be away where the host is slow and busy.
	answerTime = 20 * time.Second
	// gap is how long a guest that executes may be between two ticks there.
	gap = 5 * time.Second
)

// clockwork has a guest write down its clock ten times a second, and serve HTTP.
const clockwork = `ip link set lo up
cat >/root/tick.py <<'EOF'
import time
log = open("/root/ticks", "w")
while True:
    log.write(f"{time.monotonic()}\n")
    log.flush()
    time.sleep(0.1)
EOF
nohup python3 /root/tick.py >/dev/null 2>&1 &
mkdir /root/web && echo served >/root/web/index.html
nohup python3 -m http.server -d /root/web 3000 >/dev/null 2>&1 &
until test -s /root/ticks; do sleep 0.1; done`

// A daemon that is told to leave, and one that is killed, are followed by another
// while many VMs run, and none of these notices.
func TestDaemonRestart(t *testing.T) {
	c, u := connect(t), newSSHUser(t)
	first := create(t, c)
	sh(t, c, first, clockwork)
	vms := append([]string{first}, fork(t, c, first, *restartVMs-1)...)
	for _, how := range []struct {
		name  string
		end   func(t *testing.T)
		short bool // a command that does not take long is waited for
		long  func(err error) bool
	}{
		{"told to leave", func(t *testing.T) { do(t, "%s down", install.program) }, true,
			func(err error) bool { return coppice.CodeOf(err) == coppice.CodeUnavailable }},
		{"killed", killDaemon, false,
			func(err error) bool { return strings.Contains(err.Error(), "broke") }},
	} {
		t.Run(how.name, func(t *testing.T) {
			processes, instances, ticks := map[string]int{}, map[string]string{}, map[string]int{}
			for _, vm := range vms {
				processes[vm], instances[vm] = qemu(t, vm), awaitState(t, c, vm, api.Running).VMInstanceID
				ticks[vm], _ = strconv.Atoi(strings.TrimSpace(sh(t, c, vm, "wc -l </root/ticks")))
			}
			var commands sync.WaitGroup
			var result [2]api.ExecResult
			var ended [2]error
			for i, command := range []string{"sleep 3 && echo done", "sleep 600"} {
				commands.Go(func() {
					result[i], ended[i] = c.ExecAwait(deadline(t), vms[i], coppice.ExecSpec{Command: "touch /root/begun && " + command})
				})
				sh(t, c, vms[i], "until test -e /root/begun; do sleep 0.1; done; rm /root/begun")
			}

			how.end(t)
			began := time.Now()
			var away time.Duration
			commands.Go(func() { away = awaitAPI(t, c, began) })
			restartDaemon(t)
			commands.Wait()
			t.Logf("%d VMs: the API answered %v after the end of the daemon before", len(vms), away.Round(time.Millisecond))
			if away > answerTime {
				t.Errorf("the API was away for %v", away)
			}
			if how.short && (ended[0] != nil || result[0].Stdout != "done\n") {
				t.Errorf("a command that does not take long: %q, %v", result[0].Stdout, ended[0])
			}
			if ended[1] == nil || !how.long(ended[1]) {
				t.Errorf("a command that takes longer ends with %v", ended[1])
			}

			longest := 0.0
			for _, vm := range vms {
				if now := qemu(t, vm); now != processes[vm] {
					t.Errorf("the process of %s was %d and is %d", vm, processes[vm], now)
				}
				if now := awaitState(t, c, vm, api.Running).VMInstanceID; now != instances[vm] {
					t.Errorf("the run of %s was %s and is %s", vm, instances[vm], now)
				}
				script := fmt.Sprintf(`awk 'NR > %d { if (last && $1-last > gap) gap = $1-last; last = $1 } END { print gap+0 }' /root/ticks`, ticks[vm])
				waited, err := strconv.ParseFloat(strings.TrimSpace(sh(t, c, vm, script)), 64)
				if err != nil || waited == 0 || waited > gap.Seconds() {
					t.Errorf("the longest time between two ticks of %s was %v s, %v", vm, waited, err)
				}
				longest = max(longest, waited)
				if status, body := curl(t, ingressURL(vm, 3000)); status != 200 || body != "served\n" {
					t.Errorf("the web server of %s: %d %q", vm, status, body)
				}
			}
			t.Logf("the longest time between two ticks of a guest was %.2f s", longest)
			if got := u.in(t).run("ssh", u.at(vms[0]), "echo by ssh"); got != "by ssh\n" {
				t.Errorf("ssh: %q", got)
			}
		})
	}
	began := time.Now()
	if _, err := c.Audit(deadline(t)); err != nil {
		t.Error(err)
	}
	t.Logf("an audit of %d VMs takes %v", len(vms), time.Since(began).Round(time.Millisecond))
}

// awaitAPI waits until the API takes requests, and returns how long after began that is.
func awaitAPI(t *testing.T, c *client.Client, began time.Time) time.Duration {
	ctx := deadline(t)
	for ctx.Err() == nil {
		if _, err := c.Health(ctx); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}
