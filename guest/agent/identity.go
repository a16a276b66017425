package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// A System is what of the guest's kernel and init the host may change.
type System interface {
	// Now is what the wall clock shows.
	Now() time.Time
	StepClock(by time.Duration) error
	// Reseed makes the kernel's random numbers depend on entropy from now on,
	// all of whose bits count.
	Reseed(entropy []byte) error
	SetHostname(name string) error
	// GrowRoot makes the root file system as large as the disk it is on. It
	// costs nothing if it is.
	GrowRoot() error
	// PowerOff asks init to power off.
	PowerOff() error
}

// maxSteps bounds how often a host may step the clock before it is content.
const maxSteps = 32

// An identity is who the guest was told to be. It is in the memory of the
// agent, and so in captures: a guest that has one and is told another was restored.
type identity struct {
	mu       sync.Mutex
	vm       coppice.VMID
	instance coppice.InstanceID
}

// identify takes on an identity. Randomness and time come first: no hook and
// nobody who is let in may find them as they were in the capture.
func (x *exchange) identify(ctx context.Context) error {
	system := x.agent.System
	if err := system.Reseed(x.Identity.Entropy); err != nil {
		return fmt.Errorf("reseed the kernel's random numbers: %w", err)
	}
	for range maxSteps {
		if err := x.answer(wire.Clock{Now: system.Now().UnixNano()}); err != nil {
			return err
		}
		var step wire.Step
		if err := x.frames.Answer(&step); err != nil {
			return err
		}
		if step.Nanoseconds != 0 {
			if err := system.StepClock(time.Duration(step.Nanoseconds)); err != nil {
				return fmt.Errorf("step the clock: %w", err)
			}
		}
		if step.Last {
			complaints, err := x.agent.become(ctx, x.Identity)
			if err != nil {
				return err
			}
			x.identified.Store(true)
			return x.answer(wire.Identified{Complaints: complaints})
		}
	}
	return errors.New("the host is never content with the clock")
}

// become makes the guest who id says. What goes wrong without anybody taking
// the guest for another is only complained about.
func (a *Agent) become(ctx context.Context, id *wire.Identity) (complaints []string, err error) {
	complain := func(err error) {
		if err != nil {
			complaints = append(complaints, err.Error())
			a.Log("identity: %v", err)
		}
	}
	a.self.mu.Lock()
	defer a.self.mu.Unlock()
	restored := a.self.instance != "" && a.self.instance != id.Instance
	if id.Fresh {
		if err := a.System.SetHostname(id.Hostname); err != nil {
			return nil, fmt.Errorf("set the host name: %w", err)
		}
		renewed, err := a.writeIdentity(id)
		if renewed && err != nil {
			return nil, err
		}
		complain(err)
	}
	a.self.vm, a.self.instance = id.VM, id.Instance
	a.ready.Do(a.Ready)
	if id.Fresh {
		complain(a.System.GrowRoot())
		if restored {
			complain(a.runHooks(ctx, id.VM))
		}
	}
	return complaints, nil
}

// writeIdentity brings the files that say who the guest is up to date, and
// reports whether they named another VM. Its own name comes last: until that is
// right, everything is still to be done.
func (a *Agent) writeIdentity(id *wire.Identity) (renewed bool, err error) {
	was, _ := os.ReadFile(a.path("etc/coppice/vm-id")) // none: it was nobody
	renewed = strings.TrimSpace(string(was)) != string(id.VM)
	hosts, _ := os.ReadFile(a.path("etc/hosts"))
	err = errors.Join(
		replaceFile(a.path("etc/coppice/instance-id"), []byte(id.Instance+"\n"), 0o644),
		replaceFile(a.path("etc/hostname"), []byte(id.Hostname+"\n"), 0o644),
		replaceFile(a.path("etc/hosts"), nameInHosts(hosts, id.Hostname), 0o644),
		replaceFile(a.path("etc/machine-id"), []byte(id.MachineID+"\n"), 0o444),
		a.writeHostKeys(id.HostKeys, renewed),
	)
	if err == nil {
		err = replaceFile(a.path("etc/coppice/vm-id"), []byte(id.VM+"\n"), 0o644)
	}
	return renewed, err
}

// path returns the name of a file of the guest's configuration.
func (a *Agent) path(name string) string { return filepath.Join(a.Root, name) }

// writeHostKeys gives the guest new SSH host keys if it is another VM than
// before, or has none.
func (a *Agent) writeHostKeys(keys []wire.HostKey, renewed bool) error {
	dir := a.path("etc/ssh")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // it has no SSH
	}
	old, err := filepath.Glob(dir + "/ssh_host_*_key")
	if err != nil {
		return err
	}
	for _, name := range old {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 && !renewed {
			return nil
		}
	}
	for _, name := range old {
		if err := errors.Join(os.Remove(name), removeAny(name+".pub")); err != nil {
			return err
		}
	}
	for _, key := range keys {
		name := filepath.Join(dir, "ssh_host_"+key.Type+"_key")
		err := errors.Join(replaceFile(name, key.Private, 0o600), replaceFile(name+".pub", key.Public, 0o644))
		if err != nil {
			return err
		}
	}
	return a.reloadSSH()
}

// reloadSSH has an SSH server that is running read its keys again.
func (a *Agent) reloadSSH() error {
	content, err := os.ReadFile(a.path("run/sshd.pid"))
	if err != nil {
		return nil // it runs, if at all, only for one connection each
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || pid <= 1 {
		return nil
	}
	name, err := os.ReadFile(a.path(fmt.Sprintf("proc/%d/comm", pid)))
	if err != nil || string(name) != "sshd\n" {
		return nil // it is gone, and the file a leftover
	}
	return syscall.Kill(pid, syscall.SIGHUP)
}

// nameInHosts returns the content of /etc/hosts with 127.0.1.1 naming hostname, as Debian has it.
func nameInHosts(hosts []byte, hostname string) []byte {
	const address = "127.0.1.1"
	ours := []byte(address + "\t" + hostname + "\n")
	var out []byte
	done := false
	for line := range bytes.Lines(hosts) {
		if fields := bytes.Fields(line); len(fields) > 0 && string(fields[0]) == address {
			if !done {
				out = append(out, ours...)
			}
			done = true
			continue
		}
		out = append(out, line...)
	}
	if !done {
		if len(out) > 0 && out[len(out)-1] != '\n' {
			out = append(out, '\n')
		}
		out = append(out, ours...)
	}
	return out
}

// replaceFile makes the file have that content, atomically, unless it has it. Directories are made.
func replaceFile(name string, content []byte, mode fs.FileMode) error {
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := name + ".coppice"
	if err := removeAny(tmp); err != nil {
		return err
	}
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// removeAny removes a file that need not be there.
func removeAny(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
