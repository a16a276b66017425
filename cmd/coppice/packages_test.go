package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice/internal/progress"
)

// fakeApt puts an apt-get first in PATH.
func fakeApt(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestApt(t *testing.T) {
	said := filepath.Join(t.TempDir(), "said")
	t.Setenv("SAID", said)
	fakeApt(t, `
echo "$DEBIAN_FRONTEND: $*" >"$SAID"
echo "pmstatus:xfsprogs:50:Installing xfsprogs" >&3
echo chatter
sleep 600 &
echo $! >"$SAID.pid"
`)
	t.Cleanup(func() {
		pid, err := os.ReadFile(said + ".pid")
		if err != nil {
			t.Fatal(err)
		}
		service, err := strconv.Atoi(strings.TrimSpace(string(pid)))
		if err == nil {
			err = syscall.Kill(service, syscall.SIGKILL)
		}
		if err != nil {
			t.Error(err)
		}
	})
	steps := progress.New(t.Output())
	err := steps.Do("packages", func(step *progress.Step) error { return apt(t.Context(), step, "install", "xfsprogs") })
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); !strings.HasPrefix(s, "noninteractive: ") || !strings.Contains(s, " -y ") || !strings.HasSuffix(s, " install xfsprogs\n") {
		t.Errorf("apt-get was called as %q", s)
	}

	fakeApt(t, "echo one; echo 'E: no such package' >&2; exit 100")
	err = steps.Do("packages", func(step *progress.Step) error { return apt(t.Context(), step, "install", "nonsense") })
	if err == nil || !strings.Contains(err.Error(), "apt-get install nonsense: exit status 100") || !strings.HasSuffix(err.Error(), "E: no such package") {
		t.Errorf("error %v, want the command, its status and what it said", err)
	}
}

func TestMissing(t *testing.T) {
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got := missing([]hostPackage{{"a", there}, {"b", there + "/not"}})
	if len(got) != 1 || got[0] != "b" {
		t.Errorf("missing %q", got)
	}
}

func TestReadStatus(t *testing.T) {
	var notes []string
	readStatus(strings.NewReader(`dlstatus:1:3.5:Retrieving file 1 of 12
dlstatus:2:3.9:Retrieving file 1 of 12
garbage
pmstatus:xfsprogs:41.6667:Installing xfsprogs (amd64)
`), func(s string) { notes = append(notes, s) })
	if got, want := strings.Join(notes, "; "), "3 % Retrieving file 1 of 12; 41 % Installing xfsprogs (amd64)"; got != want {
		t.Errorf("notes %q, want %q", got, want)
	}
}
