//go:build failpoints

package sweep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice/ingress"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/internal/host"
)

// hostPoints are what the points of a data directory begin with, which has tests
// of its own here: no VM passes them.
const hostPoints = "host/"

// hostDir is the variable that has the test's program be a daemon, as far as it
// keeps the files of that directory.
const hostDir = "COPPICE_SWEEP_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(hostDir); dir != "" {
		os.Exit(keep(host.Dir(dir)))
	}
	os.Exit(m.Run())
}

// keep does what a daemon does with its directory, from its start to its end, and
// then what a purge does, if that is asked for. It prints what it has acknowledged:
// every file's name and content; and the passages that it made.
func keep(d host.Dir) int {
	life := failpoint.LifeOf(context.Background())
	defer func() {
		for _, point := range failpoint.List() {
			for p := (failpoint.Passage{Point: point, N: 1}); life.Passed(p); p.N++ {
				fmt.Println("passed", p)
			}
		}
	}()
	said := func(name string, err error) error {
		if err == nil {
			var b []byte
			b, err = os.ReadFile(name)
			fmt.Printf("kept %s %x\n", filepath.Base(name), b)
		}
		return err
	}
	err := func() error {
		if err := d.Make(); err != nil {
			return err
		}
		claim, err := d.Claim()
		if err != nil {
			return err
		}
		defer claim.Release()
		_, caErr := ingress.OpenCA(d.CA())
		_, sessionsErr := ingress.OpenSessions(d.Sessions())
		_, hostKeyErr := d.EnsureHostKey()
		return errors.Join(
			d.SetImage("image"), said(d.CA(), caErr), said(d.Sessions(), sessionsErr), said(d.SSHHostKey(), hostKeyErr),
			d.WriteCredentials(host.Credentials{URL: "http://127.0.0.1:1", Key: "secret"}),
			d.WriteCredentials(host.Credentials{URL: "http://127.0.0.1:2", Key: "secret"}),
			claim.Release(),
		)
	}()
	if err == nil && len(os.Args) > 1 && os.Args[1] == "purge" {
		err = d.Remove()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// kept is what a daemon of keep's came to.
type kept struct {
	acknowledged map[string]string
	passages     []string
	err          error
}

func (k *kept) killed() bool {
	exit, ok := errors.AsType[*exec.ExitError](k.err)
	return ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// keeps has a daemon keep a directory, with faults.
func keeps(dir, faults string, args ...string) kept {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), hostDir+"="+dir, failpoint.Env+"="+faults)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	k := kept{acknowledged: map[string]string{}, err: err}
	if err != nil {
		k.err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	for line := range strings.Lines(string(out)) {
		switch words := strings.Fields(line); words[0] {
		case "kept":
			k.acknowledged[words[1]] = words[2]
		case "passed":
			k.passages = append(k.passages, words[1])
		}
	}
	return k
}

// TestHostDiesAtEveryPoint has a daemon die, or fail, at every point between two
// side effects on its own files: those that it keeps itself, its keys among them.
// The audit names all that is left of it; the next daemon keeps what was
// acknowledged, and leaves nothing else; and a purge removes everything.
func TestHostDiesAtEveryPoint(t *testing.T) {
	whole := keeps(filepath.Join(t.TempDir(), "data"), "", "purge")
	if whole.err != nil {
		t.Fatal(whole.err)
	}
	passed := strings.Join(whole.passages, " ") + " "
	for _, point := range failpoint.List() {
		if strings.HasPrefix(point, hostPoints) && point != "host/clear/file" && !strings.Contains(passed, point+"#") {
			t.Errorf("nothing passes the point %s", point)
		}
	}
	errnos := []string{"EIO", "ENOSPC", "EMFILE", "EINTR"}
	for i, passage := range append(whole.passages, "host/clear/file#1", "host/clear/file#2") {
		for _, fault := range []string{"kill", errnos[i%len(errnos)]} {
			if err := hostFails(t, passage, fault); err != nil {
				t.Errorf("%s at %s: %v", fault, passage, err)
			}
		}
	}
	t.Logf("a daemon died, or failed, at %d passages of a data directory", len(whole.passages)+2)
}

// hostFails has a fault befall a daemon's keeping of its files, and looks at them.
func hostFails(t *testing.T, passage, fault string) error {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "certificates"), 0o700); err != nil {
		return err
	}
	if strings.HasPrefix(passage, "host/clear/") { // what an earlier daemon left
		for _, name := range []string{"ca.pem.1", "certificates/2"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("secret"), 0o600); err != nil {
				return err
			}
		}
	}
	first := keeps(dir, passage+"="+fault, "purge")
	switch {
	case fault == "kill" && !first.killed():
		return fmt.Errorf("it did not die: %v", first.err)
	case fault != "kill" && first.err == nil:
		return errors.New("nobody was told that it failed")
	}
	if strings.HasPrefix(passage, "host/remove/") {
		return purges(dir) // again
	}
	if err := named(dir); err != nil {
		return err
	}
	abandoned := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(abandoned, os.DirFS(dir)); err != nil {
		return err
	}
	if err := purges(abandoned); err != nil {
		return err
	}
	next := keeps(dir, "")
	if next.err != nil {
		return fmt.Errorf("the next daemon: %w", next.err)
	}
	for name, content := range first.acknowledged {
		if next.acknowledged[name] != content {
			return fmt.Errorf("%s had been made, and is another", name)
		}
	}
	traces, err := host.Dir(dir).Traces(t.Context())
	if err != nil || len(traces) > 0 {
		return fmt.Errorf("the next daemon left %v: %v", traces, err)
	}
	return errors.Join(named(dir), purges(dir))
}

// named holds that the files of a directory are those of a daemon, or named by
// the audit.
func named(dir string) error {
	d := host.Dir(dir)
	traces, err := d.Traces(context.Background())
	if err != nil {
		return err
	}
	names := map[string]bool{d.CA(): true, d.Sessions(): true, d.SSHHostKey(): true, d.Credentials(): true, d.PIDFile(): true, filepath.Join(dir, "image"): true}
	for _, trace := range traces {
		names[trace.Name] = true
	}
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !names[name] {
			return fmt.Errorf("nobody names %s", name)
		}
		return err
	})
}

// purges holds that a directory can be removed.
func purges(dir string) error {
	if err := host.Dir(dir).Remove(); err != nil {
		return err
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the directory is still there: %v", err)
	}
	return nil
}
