package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/guest"
	"github.com/coppice-vm/coppice/internal/tsc"
	"github.com/coppice-vm/coppice/qemu/qmp"
)

// rivalPatience bounds the boot of a baseline's guest, and each of its forks.
const rivalPatience = 5 * time.Minute

// A rival forks and suspends as QEMU does by itself: it migrates all memory to
// a file. The guest is the image that the daemon's VMs have, on the same
// processor and memory. Its disk is a raw file, copied byte by byte but for its holes.
type rival struct {
	bench *bench
	dir   string   // on the pool's file system, for all that it writes
	disk  string   // of the image
	boot  []string // what QEMU is told to boot it
	flags []string // that say what the machine is
}

// beside measures QEMU's own way. Where the daemon is on another machine there
// is none to compare with.
func (b *bench) beside(ctx context.Context, measure func(*rival) error) (err error) {
	if !b.local {
		b.note("no baseline: the daemon is on another machine")
		return nil
	}
	r, err := b.newRival(ctx)
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	if err := measure(r); err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	return nil
}

func (b *bench) newRival(ctx context.Context) (*rival, error) {
	id, err := b.createNow(ctx, api.VMSpec{}) // shows how the daemon's VMs are run
	if err != nil {
		return nil, err
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", vmProcesses(b.dir)[id]))
	if err := errors.Join(err, b.delete(id)); err != nil {
		return nil, err
	}
	image, err := b.dir.Image()
	if err != nil {
		return nil, err
	}
	files := filepath.Join(b.dir.Pool(), "images", string(image))
	data, err := os.ReadFile(filepath.Join(files, "image.json"))
	if err != nil {
		return nil, err
	}
	var is struct{ Disk, Kernel, Initrd, Cmdline string }
	if err := json.Unmarshal(data, &is); err != nil {
		return nil, err
	}
	r := &rival{bench: b, disk: filepath.Join(files, is.Disk)}
	r.flags = flagsOf(string(cmdline), "-accel", "-cpu", "-smp", "-m")
	if slices.ContainsFunc(r.flags, func(f string) bool { return strings.HasPrefix(f, "tcg") }) {
		is.Cmdline += fmt.Sprintf(" tsc=reliable tsc_early_khz=%d norandmaps", tsc.KHz()) // as package qemu does
	}
	r.boot = []string{"-kernel", filepath.Join(files, is.Kernel), "-initrd", filepath.Join(files, is.Initrd), "-append", is.Cmdline}
	r.dir, err = os.MkdirTemp(filepath.Join(b.dir.Pool(), "tmp"), "bench-") // emptied by the next daemon, at the latest
	return r, err
}

// flagsOf returns the named flags of a process with their values, from its
// command line as /proc has it.
func flagsOf(cmdline string, names ...string) []string {
	var flags []string
	args := strings.Split(cmdline, "\x00")
	for i := range len(args) - 1 {
		if slices.Contains(names, args[i]) {
			flags = append(flags, args[i], args[i+1])
		}
	}
	return flags
}

// A rivalVM is one QEMU of a rival.
type rivalVM struct {
	cmd     *exec.Cmd
	qmp     *qmp.Client
	disk    string
	session coppice.Session // nil until greet
	agent   string          // socket
	events  chan qmp.Event
}

// start starts a QEMU on a disk. Without args it boots.
func (r *rival) start(ctx context.Context, disk string, args ...string) (_ *rivalVM, err error) {
	dir, err := os.MkdirTemp(r.dir, "vm-")
	if err != nil {
		return nil, err
	}
	vm := &rivalVM{disk: disk, agent: filepath.Join(dir, "agent"), events: make(chan qmp.Event, 64)}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, path := range []string{filepath.Join(dir, "qmp"), vm.agent} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return nil, err
		}
		l.SetUnlinkOnClose(false)
		f, err := l.File()
		l.Close()
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if len(args) == 0 {
		args = r.boot
	}
	vm.cmd = exec.Command("qemu-system-x86_64", slices.Concat([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", "microvm,rtc=on",
	}, r.flags, []string{
		"-drive", "if=none,id=disk,format=raw,cache=none,discard=unmap,file=" + disk, "-device", "virtio-blk-device,drive=disk",
		"-device", "virtio-rng-device", "-device", "virtio-serial-device",
		"-chardev", "socket,id=agent,fd=4,server=on,wait=off",
		"-device", "virtserialport,chardev=agent,name=coppice.agent",
		"-chardev", "null,id=console", "-serial", "chardev:console",
		"-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
	}, args)...)
	vm.cmd.ExtraFiles = files
	vm.cmd.Stderr = new(bytes.Buffer)
	if err := vm.cmd.Start(); err != nil {
		return nil, err
	}
	vm.qmp, err = qmp.Dial(ctx, filepath.Join(dir, "qmp"), func(e qmp.Event) {
		select {
		case vm.events <- e:
		default: // a wait will end with its context
		}
	})
	if err != nil {
		vm.end()
		return nil, fmt.Errorf("%w\n%s", err, vm.cmd.Stderr)
	}
	return vm, nil
}

// end ends the process, whatever it does.
func (vm *rivalVM) end() {
	if vm.session != nil {
		vm.session.Close()
	}
	if vm.qmp != nil {
		vm.qmp.Close()
	}
	vm.cmd.Process.Kill()
	vm.cmd.Wait()
}

// greet connects to the agent, which learns that it is another VM.
func (vm *rivalVM) greet(ctx context.Context) (err error) {
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", vm.agent) }
	vm.session, err = guest.New(slog.New(slog.DiscardHandler)).Connect(ctx, dial, coppice.GuestIdentity{
		VM: coppice.NewVMID(), Instance: coppice.NewInstanceID(), Hostname: "baseline", Fresh: true,
	})
	return err
}

func (vm *rivalVM) run(ctx context.Context, command string) error {
	var stderr bytes.Buffer
	status, err := vm.session.Exec(ctx, coppice.ExecSpec{Command: command}, coppice.Stdio{Stderr: &stderr})
	if err == nil && status.Code != 0 {
		err = fmt.Errorf("%.40q ended with status %d: %s", command, status.Code, strings.TrimSpace(stderr.String()))
	}
	return err
}

// migrate stops the guest and writes its memory and devices to a file.
func (vm *rivalVM) migrate(ctx context.Context, file string) error {
	if err := vm.qmp.Do(ctx, "stop", nil, nil); err != nil {
		return err
	}
	if err := vm.qmp.Do(ctx, "migrate", map[string]any{"uri": "exec:cat >" + file}, nil); err != nil {
		return err
	}
	return vm.migrated(ctx)
}

// migrated waits until a migration has come to its end, at either side.
func (vm *rivalVM) migrated(ctx context.Context) error {
	for {
		select {
		case e := <-vm.events:
			var is struct{ Status string }
			if e.Name != "MIGRATION" || json.Unmarshal(e.Data, &is) != nil {
				continue
			}
			switch is.Status {
			case "failed":
				return errors.New("the migration failed")
			case "completed":
				return nil
			}
		case <-vm.qmp.Done():
			return fmt.Errorf("QEMU has ended: %w", vm.qmp.Err())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// incoming starts a QEMU from a file of migrate, and returns when its guest runs.
func (r *rival) incoming(ctx context.Context, disk, file string) (*rivalVM, error) {
	vm, err := r.start(ctx, disk, "-incoming", "defer")
	if err != nil {
		return nil, err
	}
	if err := vm.receive(ctx, file); err != nil {
		vm.end()
		return nil, fmt.Errorf("%w\n%s", err, vm.cmd.Stderr)
	}
	return vm, nil
}

// receive goes on from a file of migrate. A guest that was stopped before it
// was migrated arrives stopped.
func (vm *rivalVM) receive(ctx context.Context, file string) error {
	if err := vm.prepare(ctx); err != nil {
		return err
	}
	if err := vm.qmp.Do(ctx, "migrate-incoming", map[string]any{"uri": "exec:cat " + file}, nil); err != nil {
		return err
	}
	if err := vm.migrated(ctx); err != nil {
		return err
	}
	return vm.qmp.Do(ctx, "cont", nil, nil)
}

// booted starts a guest and waits for it, ready to migrate as fast as it can.
func (r *rival) booted(ctx context.Context) (*rivalVM, error) {
	r.bench.step.Note("baseline: booting")
	ctx, cancel := context.WithTimeout(ctx, rivalPatience)
	defer cancel()
	disk := filepath.Join(r.dir, "disk")
	if err := copyDisk(ctx, disk, r.disk); err != nil {
		return nil, err
	}
	vm, err := r.start(ctx, disk)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(vm.prepare(ctx), vm.greet(ctx)); err != nil {
		vm.end()
		return nil, err
	}
	return vm, nil
}

// prepare lets the VM migrate without a limit, and tell when it has.
func (vm *rivalVM) prepare(ctx context.Context) error {
	return errors.Join(
		vm.qmp.Do(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": int64(1) << 40}, nil),
		vm.qmp.Do(ctx, "migrate-set-capabilities", map[string]any{
			"capabilities": []map[string]any{{"capability": "events", "state": true}},
		}, nil))
}

// copyDisk copies a disk with all that it has, but not its holes.
func copyDisk(ctx context.Context, dst, src string) error {
	out, err := exec.CommandContext(ctx, "cp", "--sparse=always", "--reflink=never", src, dst).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy the disk: %w: %s", err, out)
	}
	return nil
}
