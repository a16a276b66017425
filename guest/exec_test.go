package guest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// run runs a command and returns what it wrote to its standard output.
func run(t *testing.T, s coppice.Session, spec coppice.ExecSpec) (string, coppice.ExecStatus) {
	t.Helper()
	var out, errs bytes.Buffer
	status, err := s.Exec(t.Context(), spec, coppice.Stdio{Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatalf("%s: %v", spec.Command, err)
	}
	if errs.Len() > 0 {
		t.Logf("%s: %s", spec.Command, &errs)
	}
	return out.String(), status
}

// number returns the number that a command wrote.
func number(t *testing.T, out []byte) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	must(t, err)
	return n
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	must(t, err)
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if err == unix.EINTR {
			continue
		}
		must(t, err)
		if n == 0 {
			t.Errorf("process %d still runs", pid)
		}
		return
	}
}

// Every process of a command is killed, whatever it has done to get away.
func TestKillTakesTheWholeTree(t *testing.T) {
	for _, tree := range []struct{ name, script string }{ // each writes a number
		{"child", "sleep 1000 & echo $!; wait"},
		{"grandchild", "(sleep 1000 & echo $!; wait) & wait"},
		{"orphan", "(sleep 1000 & echo $!); sleep 1000"},
		{"deaf", `(trap "" TERM INT HUP; echo $BASHPID; while :; do sleep 1; done) & wait`},
		{"own session", "setsid sh -c 'echo $$; exec sleep 1000' & wait"},
		{"forking", "sleep 1000 & echo $!; while :; do sleep 1000 & done"},
	} {
		t.Run(tree.name, func(t *testing.T) {
			s := connect(t, boot(t), alice)
			var out bytes.Buffer
			status, err := s.Exec(t.Context(), coppice.ExecSpec{Command: tree.script, Timeout: time.Second}, coppice.Stdio{Stdout: &out})
			if err != nil || status != timedOut {
				t.Errorf("after its timeout: %+v, %v", status, err)
			}
			gone(t, number(t, out.Bytes()))

			// Input that nobody reads does not keep a cancel from the guest.
			for _, stdin := range []io.Reader{nil, zeroes{}} {
				ctx, cancel := context.WithCancel(t.Context())
				var pid int
				_, err := s.Exec(ctx, coppice.ExecSpec{Command: tree.script}, coppice.Stdio{Stdin: stdin, Stdout: writerFunc(func(p []byte) (int, error) {
					pid = number(t, p)
					cancel()
					return len(p), nil
				})})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("after a cancel: %v", err)
				}
				gone(t, pid)
			}
		})
	}
}

// A call ends with its context also while data comes, or goes, without a pause.
func TestCancelDuringAFlood(t *testing.T) {
	m := boot(t)
	s := connect(t, m, alice)
	for name, call := range map[string]func(context.Context, io.Writer) error{
		"output": func(ctx context.Context, seen io.Writer) error {
			_, err := s.Exec(ctx, coppice.ExecSpec{Command: "yes"}, coppice.Stdio{Stdout: seen})
			return err
		},
		"input": func(ctx context.Context, seen io.Writer) error {
			_, err := s.Exec(ctx, coppice.ExecSpec{Command: "echo ready; cat >/dev/null"}, coppice.Stdio{Stdin: zeroes{}, Stdout: seen})
			return err
		},
		"upload": func(ctx context.Context, seen io.Writer) error {
			return s.Files("").Write(ctx, m.home("upload"), 0o644, io.TeeReader(zeroes{}, seen))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var seen counter
			err := call(ctx, writerFunc(func(p []byte) (int, error) {
				seen.Write(p)
				if name == "input" || seen > 1<<20 { // more than any buffer on the way
					cancel()
				}
				return len(p), nil
			}))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("it ended with %v, want Canceled", err)
			}
		})
	}
}

// Where there are no cgroups, a command's session is what can be killed.
func TestKillWithoutCgroups(t *testing.T) {
	s := connect(t, bootWith(t, ""), alice)
	out, status := run(t, s, coppice.ExecSpec{Command: "(sleep 1000 & echo $!); sleep 1000", Timeout: time.Second})
	if status != timedOut {
		t.Errorf("the command ended with %+v", status)
	}
	gone(t, number(t, []byte(out)))
}

// What a command leaves behind lives on, and may go on writing to nobody.
func TestBackgroundLivesOn(t *testing.T) {
	m := boot(t)
	s := connect(t, m, alice)
	mark := filepath.Join(m.root, "mark")
	mkfifo(t, mark+".go")
	out, _ := run(t, s, coppice.ExecSpec{
		Command: "(read line <" + mark + ".go; i=0; while [ $i -lt 20000 ]; do echo a line of sixteen; i=$((i+1)); done; echo alive >" + mark + ") & echo started",
	})
	if out != "started\n" {
		t.Errorf("the command wrote %q", out)
	}
	must(t, os.WriteFile(mark+".go", []byte("\n"), 0)) // only now, when the command has ended
	for deadline := time.Now().Add(20 * time.Second); m.file("mark") != "alive\n"; {
		if time.Now().After(deadline) {
			t.Fatal("the child did not live to write its mark")
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Not even the timeout of the command is any of its business.
	out, _ = run(t, s, coppice.ExecSpec{Command: "sleep 1000 & echo $!", Timeout: 10 * time.Second})
	must(t, unix.Kill(number(t, []byte(out)), 0))
}

// mkfifo makes a named pipe, for a command to wait at.
func mkfifo(t *testing.T, name string) {
	t.Helper()
	must(t, unix.Mkfifo(name, 0o600))
}

// A command whose host is lost goes on: its machine may be a fork, and it as
// good there as in the parent.
func TestCommandOutlivesItsHost(t *testing.T) {
	m := boot(t)
	s := connect(t, m, alice)
	mark := filepath.Join(m.root, "mark")
	mkfifo(t, mark+".go")
	_, err := s.Exec(t.Context(), coppice.ExecSpec{Command: "echo started; read line <" + mark + ".go; head -c 1000000 /dev/zero; echo alive >" + mark},
		coppice.Stdio{Stdin: zeroes{}, Stdout: writerFunc(func(p []byte) (int, error) {
			m.hangUp()
			return len(p), nil
		})})
	if !errors.Is(err, coppice.ErrGuestGone) {
		t.Errorf("a command that lost its host: %v, want ErrGuestGone", err)
	}
	run(t, s, coppice.ExecSpec{Command: "true"}) // by another connection
	must(t, os.WriteFile(mark+".go", []byte("\n"), 0))
	for deadline := time.Now().Add(20 * time.Second); m.file("mark") != "alive\n"; {
		if time.Now().After(deadline) {
			t.Fatal("the command did not live to write its mark")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// All that the main process wrote arrives, though it ends right after, and
// though a child writes for ever.
func TestOutputIsComplete(t *testing.T) {
	s := connect(t, boot(t), alice)
	for range 5 {
		out, _ := run(t, s, coppice.ExecSpec{Command: "head -c 60000 /dev/zero | tr '\\0' x; exec printf end"})
		if len(out) != 60003 || !strings.HasSuffix(out, "end") {
			t.Fatalf("the output has %d bytes, of 60003", len(out))
		}
	}
	if _, status := run(t, s, coppice.ExecSpec{Command: "yes & kill -9 $$"}); status.Code != 137 {
		t.Errorf("beside a child that writes for ever: %+v", status)
	}
}

func TestMuchOutput(t *testing.T) {
	s := connect(t, boot(t), alice)
	var count counter
	_, err := s.Exec(t.Context(), coppice.ExecSpec{Command: "head -c 100000000 /dev/zero"}, coppice.Stdio{Stdout: &count})
	if err != nil || count != 100_000_000 {
		t.Errorf("%d of 100000000 bytes, %v", count, err)
	}
}

func TestExecAsUser(t *testing.T) {
	m := boot(t)
	s := connect(t, m, alice)
	for _, test := range []struct {
		spec coppice.ExecSpec
		want string
	}{
		{coppice.ExecSpec{Command: "id -u; id -g; id -G", User: "alice"}, "4242\n4243\n4243 4244\n"},
		{coppice.ExecSpec{Command: "id -u; echo $USER", User: "4242"}, "4242\nalice\n"},
		{coppice.ExecSpec{Command: "id -u; id -G"}, "0\n0\n"},
		{coppice.ExecSpec{Command: "echo $PATH", User: "alice"}, "/usr/local/bin:/usr/bin:/bin\n"},
		{coppice.ExecSpec{Command: "touch " + m.root + "/etc/passwd 2>/dev/null || echo no", User: "alice"}, "no\n"},
		{coppice.ExecSpec{Command: "pwd", User: "alice", Dir: ".."}, filepath.Join(m.root, "home") + "\n"},
		{coppice.ExecSpec{Command: "pwd", User: "homeless"}, "/\n"},
		{coppice.ExecSpec{Command: "umask; ulimit -c; [ -t 0 ] || echo no terminal"}, "0022\n0\nno terminal\n"},
		{coppice.ExecSpec{Command: "[ $$ = $(ps -o sid= -p $$) ] && echo own session"}, "own session\n"},
		{coppice.ExecSpec{Command: "ls -l /proc/self/fd | grep -c -e socket: -e cgroup -e inotify"}, "0\n"}, // none of the agent's
	} {
		if got, _ := run(t, s, test.spec); got != test.want {
			t.Errorf("%+v wrote %q, want %q", test.spec, got, test.want)
		}
	}
	for _, test := range []struct {
		what string
		spec coppice.ExecSpec
		want error
	}{
		{"no such directory", coppice.ExecSpec{Command: "true", Dir: "/no/such"}, fs.ErrNotExist},
		{"in a file", coppice.ExecSpec{Command: "true", Dir: "/etc/passwd"}, fs.ErrInvalid},
		{"in a directory of others", coppice.ExecSpec{Command: "true", User: "alice", Dir: m.private(t)}, fs.ErrPermission},
		{"with a zero byte", coppice.ExecSpec{Command: "true\x00"}, fs.ErrInvalid},
		{"longer than the kernel takes", coppice.ExecSpec{Command: strings.Repeat(" ", 200<<10)}, fs.ErrInvalid},
		{"longer than a request", coppice.ExecSpec{Command: strings.Repeat("\x01", 1<<20)}, fs.ErrInvalid},
	} {
		if _, err := s.Exec(t.Context(), test.spec, coppice.Stdio{}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.what, err, test.want)
		}
	}
}

// private makes a directory that only root may enter.
func (m *machine) private(t *testing.T) string {
	dir := filepath.Join(m.root, "private")
	if err := os.Mkdir(dir, 0o700); !errors.Is(err, fs.ErrExist) {
		must(t, err)
	}
	return dir
}

// A guest that is shut down when it has hardly become a VM stays that VM.
func TestShutdown(t *testing.T) {
	m := boot(t)
	m.settle = time.Hour
	m.start(t, "")
	must(t, connect(t, m, alice).Shutdown(t.Context()))
	if !m.system.powerOff {
		t.Error("init was not asked")
	}
	if owner := m.file("etc/coppice/host-keys-of"); owner != string(alice.VM) {
		t.Errorf("the host keys on its disk are for %q", owner)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// zeroes is input without an end.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { return len(p), nil }
