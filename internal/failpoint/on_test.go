//go:build failpoints

package failpoint_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice/internal/failpoint"
)

var first, second = failpoint.New("first"), failpoint.New("second")

func TestMain(m *testing.M) {
	if os.Getenv(failpoint.Env) != "" {
		first.Done(context.Background())
		os.Stdout.WriteString("once\n")
		if orders, ok := strings.CutPrefix(os.Getenv(failpoint.Env), "@"); ok {
			os.WriteFile(orders, []byte("first=kill\n"), 0o600)
		}
		first.Done(context.Background())
		os.Stdout.WriteString("twice\n")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestTheProcessDies holds that a process dies where its environment says, and goes no further.
func TestTheProcessDies(t *testing.T) {
	for _, told := range []string{"first#2=kill", "@" + filepath.Join(t.TempDir(), "orders")} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), failpoint.Env+"="+told)
		out, err := cmd.Output()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || string(out) != "once\n" {
			t.Errorf("told %s, it printed %q and ended by %v; want one line, and SIGKILL", told, out, err)
		}
	}
}

func TestALife(t *testing.T) {
	l := failpoint.NewLife()
	l.Begin(map[failpoint.Passage]failpoint.Fault{
		{Point: "first", N: 2}:  failpoint.Fault(syscall.EIO),
		{Point: "second", N: 1}: failpoint.Kill,
	})
	passed := 0
	pass := func(ctx context.Context) error {
		if err := first.Hit(ctx); err != nil {
			return err
		}
		passed++
		return nil
	}
	if err := l.Call(t.Context(), pass); err != nil {
		t.Error(err)
	}
	if err := l.Call(t.Context(), pass); !errors.Is(err, syscall.EIO) {
		t.Errorf("the second time: %v, want EIO", err)
	}
	cleaned := false
	err := l.Call(t.Context(), func(ctx context.Context) error {
		defer func() { cleaned = true }()
		second.Done(ctx)
		passed++
		return nil
	})
	if !errors.Is(err, failpoint.ErrDead) || !cleaned {
		t.Errorf("at its death: %v, deferred calls %v", err, cleaned)
	}
	if err := l.Call(t.Context(), pass); !errors.Is(err, failpoint.ErrDead) {
		t.Errorf("after its death: %v", err)
	}
	if passed != 1 || !l.Passed(failpoint.Passage{Point: "second", N: 1}) || l.Passed(failpoint.Passage{Point: "first", N: 3}) || l.Busy() || len(l.Trail()) != 3 {
		t.Errorf("it passed %d times, and its trail is %v", passed, l.Trail())
	}
}

// TestAStepHangs holds that a step that hangs does so until it is released or its
// context ends, and that a test hears of passages.
func TestAStepHangs(t *testing.T) {
	l := failpoint.NewLife()
	l.Begin(map[failpoint.Passage]failpoint.Fault{
		{Point: "first", N: 1}: failpoint.Hang,
		{Point: "first", N: 2}: failpoint.Hang,
	})
	there := make(chan struct{})
	l.When(failpoint.Passage{Point: "first", N: 1}, func() { close(there) })
	ended, end := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() { answer <- l.Call(ended, first.Hit) }()
	<-there
	end()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("when its context had ended: %v", err)
	}
	l.Release()
	if err := l.Call(t.Context(), first.Hit); err != nil {
		t.Errorf("when it was released: %v", err)
	}
}

func TestFaultsAreParsed(t *testing.T) {
	faults, err := failpoint.ParseFaults("first=kill,second#3=ENOSPC,first#2=hang")
	want := map[failpoint.Passage]failpoint.Fault{
		{Point: "first", N: 1}:  failpoint.Kill,
		{Point: "second", N: 3}: failpoint.Fault(syscall.ENOSPC),
		{Point: "first", N: 2}:  failpoint.Hang,
	}
	if err != nil || len(faults) != len(want) {
		t.Errorf("%v, %v", faults, err)
	}
	for passage, fault := range want {
		if faults[passage] != fault {
			t.Errorf("%s: %v, want %v", passage, faults[passage], fault)
		}
	}
	for _, wrong := range []string{"third=kill", "first", "first=death", "first#0=kill", "first#x=kill", "first=EMADEUP"} {
		if _, err := failpoint.ParseFaults(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}
