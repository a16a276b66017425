package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// When the kernel ends a QEMU for want of memory, that VM is lost and says so,
// with all on its disk that it had synced; the daemon and other VMs are none the worse.
func TestKilledForWantOfMemory(t *testing.T) {
	c := connect(t)
	other := create(t, c)
	vm := create(t, c)
	groups, err := filepath.Glob("/sys/fs/cgroup/*/coppice-" + vm)
	deeper, deeperErr := filepath.Glob("/sys/fs/cgroup/*/*/*/coppice-" + vm)
	if err != nil || deeperErr != nil {
		t.Fatal(err, deeperErr)
	}
	limit, used := "", ""
	for _, group := range append(groups, deeper...) {
		for of, is := range map[string]string{"memory.max": "memory.current", "memory.limit_in_bytes": "memory.usage_in_bytes"} {
			if _, err := os.Stat(filepath.Join(group, of)); err == nil {
				limit, used = filepath.Join(group, of), filepath.Join(group, is)
			}
		}
	}
	if limit == "" {
		t.Skip("this host does not limit memory by control groups")
	}
	pid := daemon(t)
	sh(t, c, vm, "echo kept >/root/note; sync")
	text, err := os.ReadFile(used)
	if err != nil {
		t.Fatal(err)
	}
	now, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(limit, fmt.Append(nil, now+32<<20), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: "head -c 300M /dev/zero >/dev/shm/much"}); err == nil {
		t.Error("the guest got more than there was")
	}
	if lost := awaitState(t, c, vm, api.Lost); !strings.Contains(lost.Reason, "SIGKILL") {
		t.Errorf("it is lost because %q", lost.Reason)
	}
	if sh(t, c, other, "echo here") != "here\n" || daemon(t) != pid {
		t.Error("others were hit, too")
	}
	if err := startVM(t, c, vm); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, c, vm, "cat /root/note"); got != "kept\n" {
		t.Errorf("its disk has %q", got)
	}
}
