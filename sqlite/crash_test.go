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
	var acknowledged []int
	for kills, lines := range []int{1, 7, 60} {
		acknowledged = append(acknowledged, writeAndKill(t, path, lines)...)

		db := open(t, path)
		for _, n := range acknowledged {
			if got, err := db.VM(t.Context(), coppice.VMID(strconv.Itoa(n))); err != nil || got.State != coppice.Running {
				t.Errorf("VM %d was acknowledged and is %q, %v", n, got.State, err)
			}
		}
		vms, err := db.VMs(t.Context(), coppice.VMFilter{})
		if err != nil {
			t.Fatal(err)
		}
		// Each kill may leave one VM that is there and was not acknowledged.
		if extra := len(vms) - len(acknowledged); extra < 0 || extra > kills+1 {
			t.Errorf("%d VMs are there, %d were acknowledged", len(vms), len(acknowledged))
		}
	}
}

// writeAndKill runs a writer until it has acknowledged some VMs, kills it, and
// returns the numbers of all that it acknowledged.
func writeAndKill(t *testing.T, path string, lines int) (acknowledged []int) {
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
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		n, err := strconv.Atoi(scanner.Text())
		if err != nil {
			t.Fatal(err)
		}
		acknowledged = append(acknowledged, n)
		if len(acknowledged) == lines {
			cmd.Process.Kill() // and read on: what it still said counts
		}
	}
	if len(acknowledged) < lines {
		t.Fatalf("the writer ended by itself after %d of %d", len(acknowledged), lines)
	}
	return acknowledged
}
