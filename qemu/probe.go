package qemu

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink"
)

const (
	kvmDevice      = "/dev/kvm"
	trialTimeout   = 10 * time.Second
	trialMemoryMiB = 512
)

// A Trial finds out whether KVM runs our guest on this host. That there is a
// /dev/kvm does not say so: it may open and then hang, or abort.
type Trial struct {
	Binary string // as in [Config]
	Image  coppice.Image
	// StatePath is the file that remembers the result, for one kernel, one
	// version of QEMU and one image.
	StatePath string
	// Scratch is a directory, on the file system of the image's disk, for what
	// the trial needs while it lasts.
	Scratch string
	// Timeout is how long the guest may take until its agent opens its port;
	// 0 is ten seconds. A guest that KVM executes takes one or two.
	Timeout time.Duration
	Log     *slog.Logger
}

// A verdict is what a trial found out, and about what.
type verdict struct {
	Kernel string          `json:"kernel"`
	QEMU   string          `json:"qemu"`
	Image  coppice.ImageID `json:"image"`
	Accel  Accel           `json:"accel"`
	Detail string          `json:"detail"`
}

// Probe returns how VMs should be run on this host: KVM if a guest was seen to
// boot with it, else TCG; detail says why, in a sentence. It takes up to half a
// minute the first time and is remembered. An error means that it could not be
// found out.
func Probe(ctx context.Context, t Trial) (accel Accel, detail string, err error) {
	kvm, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil { // and not worth remembering: it may be there tomorrow
		return TCG, fmt.Sprintf("KVM cannot be used: %v", err), nil
	}
	kvm.Close()
	subject, err := t.subject(ctx)
	if err != nil {
		return "", "", fmt.Errorf("probe KVM: %w", err)
	}
	if v, err := readVerdict(t.StatePath); err == nil && v == subject.with(v.Accel, v.Detail) {
		return v.Accel, v.Detail, nil
	}
	v := subject.with(KVM, "KVM boots the guest")
	if err := t.boot(ctx); ctx.Err() != nil {
		return "", "", fmt.Errorf("probe KVM: %w", context.Cause(ctx))
	} else if err != nil {
		v = subject.with(TCG, fmt.Sprintf("KVM does not boot the guest: %v", err))
	}
	if err := v.write(t.StatePath); err != nil {
		return "", "", fmt.Errorf("remember whether KVM works: %w", err)
	}
	return v.Accel, v.Detail, nil
}

// subject returns what the trial is about.
func (t Trial) subject(ctx context.Context) (verdict, error) {
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return verdict{}, err
	}
	version, err := Version(ctx, t.Binary)
	if err != nil {
		return verdict{}, err
	}
	return verdict{Kernel: unix.ByteSliceToString(host.Release[:]), QEMU: version, Image: t.Image.ID}, nil
}

// Version returns the first line of what QEMU says of its version.
func Version(ctx context.Context, binary string) (string, error) {
	binary = cmp.Or(binary, defaultBinary)
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", binary, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// boot boots a guest with KVM, and ends it when its agent is up.
func (t Trial) boot(ctx context.Context) error {
	dir, err := os.MkdirTemp(t.Scratch, "kvm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h := New(Config{Binary: t.Binary, RunDir: dir, Accel: KVM, Log: t.Log})
	defer h.Close()
	m := coppice.Machine{
		VM: coppice.NewVMID(), Instance: coppice.NewInstanceID(), Boot: &t.Image,
		Size: coppice.Size{VCPUs: 1, MemoryMiB: trialMemoryMiB, DiskMiB: t.Image.DiskMiB},
		Disk: filepath.Join(dir, "disk"), Memory: filepath.Join(dir, "memory"),
	}
	if err := reflink.Clone(m.Disk, t.Image.Disk); err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(m.Memory, nil, 0o600), os.Truncate(m.Memory, trialMemoryMiB<<20)); err != nil {
		return err
	}
	timeout := cmp.Or(t.Timeout, trialTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no sign of life in %v", timeout))
	defer cancel()
	started, err := h.Start(ctx, m)
	if err != nil {
		return err
	}
	r := started.(*run)
	defer r.Kill(context.WithoutCancel(ctx))
	select {
	case <-r.opened:
		return nil
	case <-r.ended:
		return fmt.Errorf("the guest ended: %s", r.exit.Detail)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (v verdict) with(accel Accel, detail string) verdict {
	v.Accel, v.Detail = accel, detail
	return v
}

func readVerdict(name string) (v verdict, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

func (v verdict) write(name string) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}
