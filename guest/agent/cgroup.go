package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// cgroups makes a cgroup for each command. They share one directory with what
// earlier commands left running.
type cgroups struct {
	dir string

	mu    sync.Mutex
	made  int
	stale []string // ended, but not empty when last looked at
}

// A cgroup holds the processes of one command.
type cgroup struct {
	all *cgroups
	dir *os.File
}

// create returns a new cgroup, or nil where there can be none.
func (g *cgroups) create() *cgroup {
	if g.dir == "" {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.made++
	name := filepath.Join(g.dir, "exec-"+strconv.Itoa(g.made))
	if err := os.MkdirAll(name, 0o755); err != nil {
		return nil
	}
	if _, err := os.Stat(name + "/cgroup.kill"); err != nil {
		os.Remove(name) // not on a cgroup file system, or on an old one
		return nil
	}
	dir, err := os.Open(name)
	if err != nil {
		return nil
	}
	return &cgroup{g, dir}
}

func (g *cgroup) fd() int { return int(g.dir.Fd()) }

// kill kills what is in the cgroup, forks under way included.
func (g *cgroup) kill() error {
	return os.WriteFile(g.dir.Name()+"/cgroup.kill", []byte("1"), 0)
}

// release removes the cgroup, once what is left in it has ended. It looks at
// some of those that were left before, too.
func (g *cgroup) release() {
	g.dir.Close()
	all := g.all
	all.mu.Lock()
	defer all.mu.Unlock()
	all.stale = append([]string{g.dir.Name()}, all.stale...)
	for range min(len(all.stale), 8) {
		name := all.stale[0]
		all.stale = all.stale[1:]
		if unix.Rmdir(name) == unix.EBUSY {
			all.stale = append(all.stale, name)
		}
	}
}

// killSession kills the processes of a session, whose leader is pid. Those
// that have made a session of their own escape, and those that fork at the
// very end have another round.
func killSession(pid int) error {
	for range 10 {
		members, err := sessionMembers(pid)
		if err != nil {
			return err
		}
		if len(members) == 0 {
			return nil
		}
		for _, member := range members {
			if err := unix.Kill(member, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return err
			}
		}
	}
	return fmt.Errorf("session %d forks faster than it can be killed", pid)
}

// sessionMembers lists the processes of a session that are not dead.
func sessionMembers(session int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var members []int
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // ended
		}
		// pid (name) state ppid pgrp session: a name may have anything in it.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 4 || string(fields[3]) != strconv.Itoa(session) || fields[0][0] == 'Z' || fields[0][0] == 'X' {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, err
		}
		members = append(members, pid)
	}
	return members, nil
}
