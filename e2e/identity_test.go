package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice/api"
)

// docs/IDENTITY.md, line by line, with siblings side by side.
func TestIdentity(t *testing.T) {
	c := connect(t)
	parent := create(t, c)
	sh(t, c, parent, `mkdir -p /etc/coppice/fork.d
cat >/etc/coppice/fork.d/10-hook <<'EOF'
#!/bin/sh
echo "$COPPICE_VM_ID $(hostname) $(cat /etc/coppice/vm-id)" >/run/hooked
EOF
printf '#!/bin/sh\nexit 3\n' >/etc/coppice/fork.d/20-fails
chmod +x /etc/coppice/fork.d/*
cat >/root/draw.py <<'EOF'
import os, time
log = open("/root/draws", "w", buffering=1)
while True:
    log.write(f"{time.time()} {os.getrandom(16).hex()}\n")
    time.sleep(0.002)
EOF
nohup python3 /root/draw.py >/dev/null 2>&1 &
for i in $(seq 100); do test -s /root/draws && exit; sleep 0.1; done; exit 1`)
	forked := time.Now()
	vms := append(fork(t, c, parent, 2), parent)
	usable := time.Now()
	t.Logf("forked in %v", usable.Sub(forked))

	// Asked of every VM in one go: whatever is alike in two of them is found below.
	unique := map[string][]string{}
	for _, vm := range vms {
		t.Run(vm, func(t *testing.T) {
			info := awaitState(t, c, vm, api.Running)
			unique["instance"] = append(unique["instance"], info.VMInstanceID)
			for what, script := range map[string]string{
				"hostname":     "hostname",
				"machine-id":   "cat /etc/machine-id",
				"SSH host key": "cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2; ssh-keygen -yf /etc/ssh/ssh_host_ed25519_key | cut -d' ' -f2 | diff - <(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)",
				"ECDSA key":    "cut -d' ' -f2 /etc/ssh/ssh_host_ecdsa_key.pub",
				"urandom":      "head -c 16 /dev/urandom | xxd -p || python3 -c 'import os; print(os.urandom(16).hex())'",
			} {
				unique[what] = append(unique[what], sh(t, c, vm, script))
			}
			if got, want := sh(t, c, vm, "hostname; cat /etc/hostname /etc/coppice/vm-id /etc/coppice/instance-id; echo $COPPICE_VM_ID; grep -c 127.0.1.1.*$(hostname) /etc/hosts"),
				fmt.Sprintf("%[1]s\n%[1]s\n%[1]s\n%[2]s\n%[1]s\n1\n", vm, info.VMInstanceID); got != want {
				t.Errorf("it takes itself for\n%swant\n%s", got, want)
			}
			if off := clockError(t, vm); off.Abs() > 10*time.Millisecond {
				t.Errorf("its clock is wrong by %v", off)
			}
			if vm != parent {
				if got, want := sh(t, c, vm, "cat /run/hooked"), fmt.Sprintf("%[1]s %[1]s %[1]s\n", vm); got != want {
					t.Errorf("the hook says %q, want %q", got, want)
				}
				if got := sh(t, c, vm, "dmesg | grep -c 20-fails || true"); got == "0\n" {
					t.Error("nothing tells of the hook that failed")
				}
			}
		})
	}
	for what, values := range unique {
		seen := map[string]bool{}
		for _, v := range values {
			if v == "" || seen[v] {
				t.Errorf("%s: %q", what, values)
			}
			seen[v] = true
		}
	}
	drawsDiffer(t, vms, usable)
}

// drawsDiffer checks that processes which were drawing random numbers when they
// were forked never drew the same once the fork had returned.
func drawsDiffer(t *testing.T, vms []string, usable time.Time) {
	c := connect(t)
	drawn := map[string]string{} // by whom
	early := 0
	for _, vm := range vms {
		n := 0
		for line := range strings.Lines(sh(t, c, vm, "sleep 1; cat /root/draws")) {
			at, number, ok := strings.Cut(strings.TrimSpace(line), " ")
			seconds, err := strconv.ParseFloat(at, 64)
			if !ok || err != nil {
				continue // the last line may be half written
			}
			other, taken := drawn[number]
			switch {
			case seconds <= float64(usable.UnixNano())/1e9:
				if taken && other != vm {
					early++
				}
			case taken:
				t.Errorf("VM %s drew %s after the fork, as VM %s did", vm, number, other)
			default:
				n++
			}
			drawn[number] = vm
		}
		if n == 0 {
			t.Errorf("VM %s drew nothing after the fork", vm)
		}
	}
	t.Logf("%d numbers were drawn before the fork had returned and are in more than one VM", early)
}

// clockError measures how wrong a VM's wall clock is. What the way to and fro
// leaves unknown is taken off: several attempts, the quickest counts.
func clockError(t *testing.T, vm string) time.Duration {
	t.Helper()
	c := connect(t)
	// One process answers many times: nothing has to be started in between.
	best, off := time.Hour, time.Duration(0)
	pr, answers, wait := converse(t, c, vm, `while read -r x; do printf '%s\n' "$EPOCHREALTIME"; done`)
	for range 30 {
		sent := time.Now()
		fmt.Fprintln(pr, "?")
		if !answers.Scan() {
			t.Fatalf("the VM does not tell the time: %v", answers.Err())
		}
		took := time.Since(sent)
		var seconds, micros int64
		if _, err := fmt.Sscanf(answers.Text(), "%d.%d", &seconds, &micros); err != nil {
			t.Fatal(err)
		}
		if took < best {
			best, off = took, time.Unix(seconds, micros*1000).Sub(sent.Add(took/2))
		}
	}
	pr.Close()
	wait()
	t.Logf("VM %s: clock off by %v, give or take %v", vm, off, best/2)
	if off.Abs() < best/2 {
		return 0
	}
	return off - time.Duration(sign(off))*best/2
}

func sign(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return 1
}

// A VM keeps its SSH host keys and machine-id for life.
func TestIdentityIsForLife(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	const ask = "cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub; hostname"
	before := sh(t, c, vm, ask)
	if _, err := c.Stop(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(deadline(t), vm, api.StartVM{}); err != nil {
		t.Fatal(err)
	}
	if after := sh(t, c, vm, ask); after != before {
		t.Errorf("after a stop and a start it is\n%s, it was\n%s", after, before)
	}
	if _, err := c.Suspend(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // its clock is to be behind
	if _, err := c.Start(deadline(t), vm, api.StartVM{}); err != nil {
		t.Fatal(err)
	}
	if off := clockError(t, vm); off.Abs() > 10*time.Millisecond {
		t.Errorf("after a resume its clock is wrong by %v", off)
	}
	if after := sh(t, c, vm, ask); after != before {
		t.Errorf("after a suspend and a resume it is\n%s, it was\n%s", after, before)
	}
}
