package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/sqlite"
)

// writerEnv makes the test binary a writer of the database it names.
const writerEnv = "COPPICE_TEST_SQLITE_WRITER"

// writeForEver adds VM after VM, updates each, and says so when it is
// acknowledged. Its parent kills it.
func writeForEver(path string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	db, err := sqlite.Open(ctx, path)
	fail(err)
	have, err := db.VMs(ctx, coppice.VMFilter{})
	fail(err)
	for n := len(have); ; n++ {
		id := coppice.VMID(strconv.Itoa(n))
		fail(db.InsertVM(ctx, vm(id, "alice")))
		_, err := db.UpdateVM(ctx, id, func(vm *coppice.VM) error { vm.State = coppice.Running; return nil })
		fail(err)
		fmt.Println(n)
	}
}

func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	path := tempFile(t)
	acknowledged := -1
	for _, lines := range []int{1, 7, 60} {
		acknowledged = writeAndKill(t, path, lines)

		db := open(t, path)
		vms, err := db.VMs(t.Context(), coppice.VMFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for n := range acknowledged + 1 {
			if got, err := db.VM(t.Context(), coppice.VMID(strconv.Itoa(n))); err != nil || got.State != coppice.Running {
				t.Errorf("VM %d of %d acknowledged is %q, %v", n, acknowledged+1, got.State, err)
			}
		}
		// Killed between insert and acknowledgement there may be one more.
		if len(vms) != acknowledged+1 && len(vms) != acknowledged+2 {
			t.Errorf("%d VMs are there, %d were acknowledged", len(vms), acknowledged+1)
		}
	}
}

// writeAndKill runs a writer until it has acknowledged some lines, kills it,
// and returns the last number that it acknowledged.
func writeAndKill(t *testing.T, path string, lines int) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	last = -1
	for scanner := bufio.NewScanner(out); scanner.Scan(); lines-- {
		if last, err = strconv.Atoi(scanner.Text()); err != nil {
			t.Fatal(err)
		}
		if lines == 1 {
			cmd.Process.Kill() // and read on: what it still said counts
		}
	}
	if lines > 0 {
		t.Fatalf("the writer ended by itself, %d lines early", lines)
	}
	return last
}
