package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	if err := x.agent.System.Reseed(x.Identity.Entropy); err != nil {
		return fmt.Errorf("reseed the kernel's random numbers: %w", err)
	}
	if err := x.setClock(); err != nil {
		return err
	}
	complaints, err := x.agent.become(ctx, x.Identity)
	if err != nil {
		return err
	}
	x.identified.Store(true)
	return x.answer(wire.Identified{Complaints: complaints})
}

// clock has the clock set.
func (x *exchange) clock() error {
	if err := x.setClock(); err != nil {
		return err
	}
	return x.answer(wire.Done{})
}

// setClock says what the clock shows and steps it as the host wants, until it
// is content.
func (x *exchange) setClock() error {
	system := x.agent.System
	for range maxSteps {
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
			return nil
		}
		if err := x.answer(wire.Clock{Now: system.Now().UnixNano()}); err != nil {
			return err
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
	was := a.self.vm
	if was == "" {
		name, _ := os.ReadFile(a.path(ownerFile)) // none: it was nobody
		was = coppice.VMID(name)
	}
	restored := a.self.instance != "" && a.self.instance != id.Instance
	if id.Fresh {
		if err := a.System.SetHostname(id.Hostname); err != nil {
			return nil, fmt.Errorf("set the host name: %w", err)
		}
		err := a.writeIdentity(id, was != id.VM)
		if was != id.VM && err != nil {
			return nil, err
		}
		complain(err)
	}
	a.self.vm, a.self.instance = id.VM, id.Instance
	a.ready.Do(a.Ready)
	if !id.Fresh {
		return complaints, nil
	}
	if was != id.VM {
		a.chores.Go(func() { a.settle(ctx, id.VM) })
	}
	if restored {
		complain(a.runHooks(ctx, id.VM))
	} else {
		complain(a.System.GrowRoot())
	}
	return complaints, nil
}

// ownerFile names the VM that the SSH host keys on the disk belong to, for
// sure: it is written when they are safe. A guest that is lost before that gets
// others when it boots.
const ownerFile = "etc/coppice/host-keys-of"

// settle makes the host keys of a new VM last, in a while: when the host has
// other things of this guest behind it.
func (a *Agent) settle(ctx context.Context, vm coppice.VMID) {
	select {
	case <-time.After(a.Settle):
	case <-ctx.Done():
		return
	}
	a.self.mu.Lock()
	defer a.self.mu.Unlock()
	if a.self.vm == vm { // it may have been forked meanwhile, and be another
		a.keepHostKeys()
	}
}

// keepHostKeys makes the host keys last, and then says whose they are. The
// caller holds a.self.mu.
func (a *Agent) keepHostKeys() {
	names, err := filepath.Glob(a.path("etc/ssh/ssh_host_*_key*"))
	for _, name := range names {
		err = errors.Join(err, syncFile(name))
	}
	if err == nil {
		err = putFile(a.path(ownerFile), string(a.self.vm), 0o600)
	}
	if err != nil {
		a.Log("identity: the SSH host keys may not last: %v", err)
	}
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// writeIdentity brings the files that say who the guest is up to date.
func (a *Agent) writeIdentity(id *wire.Identity, renew bool) error {
	hosts, _ := os.ReadFile(a.path("etc/hosts"))
	return errors.Join(
		putFile(a.path("etc/coppice/vm-id"), string(id.VM)+"\n", 0o644),
		putFile(a.path("etc/coppice/instance-id"), string(id.Instance)+"\n", 0o644),
		putFile(a.path("etc/hostname"), id.Hostname+"\n", 0o644),
		putFile(a.path("etc/hosts"), nameInHosts(string(hosts), id.Hostname), 0o644),
		putFile(a.path("etc/machine-id"), id.MachineID+"\n", 0o444),
		a.writeHostKeys(id.HostKeys, renew),
	)
}

// path returns the name of a file of the guest's configuration.
func (a *Agent) path(name string) string { return filepath.Join(a.Root, name) }

// writeHostKeys gives the guest new SSH host keys if it is another VM than
// before, or has none.
func (a *Agent) writeHostKeys(keys []wire.HostKey, renew bool) error {
	dir := a.path("etc/ssh")
	old, err := filepath.Glob(dir + "/ssh_host_*_key")
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || len(old) > 0 && !renew {
		return nil // it has no SSH, or keys
	}
	var errs []error
	for _, key := range keys {
		name := filepath.Join(dir, "ssh_host_"+key.Type+"_key")
		old = slices.DeleteFunc(old, func(o string) bool { return o == name })
		errs = append(errs, putFile(name, string(key.Private), 0o600), putFile(name+".pub", string(key.Public), 0o644))
	}
	for _, name := range old { // of a kind that was not sent
		errs = append(errs, removeAny(name), removeAny(name+".pub"))
	}
	return errors.Join(append(errs, a.reloadSSH())...)
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
func nameInHosts(hosts, hostname string) string {
	const address = "127.0.1.1"
	ours := address + "\t" + hostname + "\n"
	var out strings.Builder
	done := false
	for line := range strings.Lines(hosts) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == address {
			if !done {
				out.WriteString(ours)
			}
			done = true
			continue
		}
		out.WriteString(line)
	}
	if !done {
		if hosts != "" && !strings.HasSuffix(hosts, "\n") {
			out.WriteString("\n")
		}
		out.WriteString(ours)
	}
	return out.String()
}

// putFile makes a small file have that content, unless it has it, and no more
// permissions than mode. It writes in place: to replace the file would have
// the kernel write it to the disk at once, of which a fork does half a dozen.
func putFile(name, content string, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, []byte(content), mode)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	old, err := io.ReadAll(f)
	if err != nil || string(old) == content {
		return err
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm()&^mode != 0 {
		if err := errors.Join(err, f.Chmod(mode)); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	if len(content) < len(old) {
		return f.Truncate(int64(len(content)))
	}
	return nil
}

// removeAny removes a file that need not be there.
func removeAny(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
