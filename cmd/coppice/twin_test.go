package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/dashboard"
	"github.com/coppice-vm/coppice/http"
	"github.com/coppice-vm/coppice/ingress"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/mem"
	"github.com/coppice-vm/coppice/metrics"
	"github.com/coppice-vm/coppice/sshgate"
	"github.com/coppice-vm/coppice/traces"
)

// serveTwin serves a host whose VMs are in memory only, and whose guests are
// all this machine, at home in the directory home. It returns the way in.
func serveTwin(t testing.TB, home string) host.Credentials {
	t.Helper()
	credentials, _, _ := serveTwinWith(t, home)
	return credentials
}

// serveTwinWith is serveTwin, and returns the store and the hypervisor of the
// host as well.
func serveTwinWith(t testing.TB, home string) (host.Credentials, *mem.Store, *mem.Hypervisor) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	const size = 16 << 10
	pool := mem.NewPool(coppice.Image{ID: "image", Disk: "images/image/disk.raw", DiskMiB: size})
	store, hypervisor := mem.NewStore(), mem.NewHypervisor(pool)
	authority := access.New(store, log)
	recorder := metrics.New("test", log)
	tracer, err := traces.New(t.Context(), "test", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Close() })
	vms, err := lifecycle.Open(t.Context(), lifecycle.Config{
		Observer: recorder, Tracer: tracer,
		Store: store, Captures: store, Quotas: store, History: store, Gauge: mem.NewGauge(), KeepHistory: time.Hour, Hypervisor: hypervisor, Pool: pool, Guest: twinGuest{hypervisor, home, mem.NewGuest(nil)}, Log: log,
		Network: mem.NewNetwork(), Egress: coppice.EgressClosed,
		Image: "image", Size: coppice.Size{VCPUs: 2, MemoryMiB: 1024, DiskMiB: size}, HostBoot: "boot",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vms.Close(context.Background()) })
	recorder.Watch(vms.Census)
	key, err := authority.HostKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := host.Dir(t.TempDir()).EnsureHostKey()
	if err != nil {
		t.Fatal(err)
	}
	sshListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gate := sshgate.New(sshgate.Config{VMs: vms, Access: authority, HostKey: hostKey, Log: log})
	go gate.Serve(sshListener)
	t.Cleanup(func() {
		if err := gate.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	directory := &ingress.Directory{Domain: "vm.localhost", Mappings: store}
	sessions, err := ingress.OpenSessions(filepath.Join(t.TempDir(), "sessions.key"))
	if err != nil {
		t.Fatal(err)
	}
	web := ingress.New(ingress.Config{VMs: vms, Records: store, Network: vms.Network, Directory: directory, Access: authority, Sessions: sessions, Log: log})
	webListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go web.Serve(webListener)
	t.Cleanup(func() {
		if err := web.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	server, err := http.New(http.Config{
		VMs: visited{vms, web}, Access: authority, Log: log, Metrics: recorder, Traces: tracer, Version: "test", SpoolDir: t.TempDir(),
		Ready:     func(context.Context) error { return nil },
		Domains:   directory,
		Ingress:   api.Ingress{URL: fmt.Sprintf("http://{port}-{vm}.vm.localhost:%d", portOf(webListener)), CA: "-----BEGIN CERTIFICATE-----\n"},
		SSH:       sshSaid(sshListener.Addr(), hostKey.PublicKey()),
		Dashboard: dashboard.Handler(),
		Doctor: func(context.Context) []api.Finding {
			return []api.Finding{{Name: "pool", Text: "has room"}, {Name: "memory", Text: "is scarce", Fix: "buy some"}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return host.Credentials{URL: localURL(listener.Addr()), Key: key}, store, hypervisor
}

// A twinGuest is a [coppice.Guest] that is this machine.
type twinGuest struct {
	hypervisor *mem.Hypervisor
	home       string
	terminals  *mem.Guest
}

func (g twinGuest) Connect(ctx context.Context, _ func(context.Context) (net.Conn, error), id coppice.GuestIdentity) (coppice.Session, error) {
	near, far := net.Pipe()
	inner, err := g.terminals.Connect(ctx, func(context.Context) (net.Conn, error) { return near, nil }, id)
	if err != nil {
		return nil, err
	}
	return twinSession{twinGuest: g, vm: id.VM, inner: inner, line: far}, nil
}

type twinSession struct {
	twinGuest
	coppice.GuestSockets // not there
	vm                   coppice.VMID
	inner                coppice.Session // for terminals
	line                 net.Conn        // its other end
}

func (s twinSession) Shutdown(context.Context) error {
	s.hypervisor.End(s.vm, coppice.Exit{Kind: coppice.ExitPowerOff})
	return nil
}

func (s twinSession) SetClock(context.Context) error { return nil }

func (s twinSession) Close() error {
	s.line.Close()
	return s.inner.Close()
}

func (s twinSession) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	if spec.User != "" && spec.User != "root" {
		return coppice.ExecStatus{}, coppice.ErrNoUser
	}
	limited, cancel := context.WithCancel(ctx)
	if spec.Timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, spec.Timeout)
	}
	defer cancel()
	cmd := exec.CommandContext(limited, "sh", "-c", spec.Command)
	cmd.Dir = filepath.Join(s.home, spec.Dir)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Stdout, cmd.Stderr = stdio.Stdout, stdio.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stdin, err := cmd.StdinPipe() // not cmd.Stdin: Wait would wait for it
	if err != nil {
		return coppice.ExecStatus{}, err
	}
	if err := cmd.Start(); err != nil {
		return coppice.ExecStatus{}, err
	}
	go func() {
		if stdio.Stdin != nil {
			io.Copy(stdin, stdio.Stdin)
		}
		stdin.Close()
	}()
	cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return coppice.ExecStatus{}, ctx.Err()
	case limited.Err() != nil:
		return coppice.ExecStatus{Code: 124, TimedOut: true}, nil
	}
	if ended := cmd.ProcessState.Sys().(syscall.WaitStatus); ended.Signaled() {
		return coppice.ExecStatus{Code: 128 + int(ended.Signal())}, nil
	}
	return coppice.ExecStatus{Code: cmd.ProcessState.ExitCode()}, nil
}

func (s twinSession) Dial(ctx context.Context, user, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (s twinSession) Files(string) coppice.GuestFiles { return twinFiles(s.home) }

func (s twinSession) Terminals(user string) coppice.GuestTerminals { return s.inner.Terminals(user) }

// twinFiles are the files below a directory.
type twinFiles string

func (f twinFiles) name(name string) string { return filepath.Join(string(f), name) }

func (f twinFiles) Open(_ context.Context, name string) (coppice.GuestFile, error) {
	file, err := os.Open(f.name(name))
	if err != nil {
		return coppice.GuestFile{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return coppice.GuestFile{}, err
	}
	if !info.IsDir() {
		return coppice.GuestFile{Mode: info.Mode(), Size: info.Size(), Content: file}, nil
	}
	defer file.Close()
	entries, err := file.ReadDir(-1)
	found := coppice.GuestFile{Dir: true, Mode: info.Mode()}
	for _, e := range entries {
		found.Entries = append(found.Entries, coppice.DirEntry{Name: e.Name(), Dir: e.IsDir()})
	}
	return found, err
}

func (f twinFiles) Write(_ context.Context, name string, mode fs.FileMode, r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.name(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(f.name(name), content, mode)
}

func (f twinFiles) Watch(ctx context.Context, _ string, _ func(coppice.FileEvent)) error {
	<-ctx.Done()
	return ctx.Err()
}
