// Package http serves the API, by which programs, the command line and the
// dashboard use VMs.
//
// It decides nothing about VMs: it says who asks, turns requests into calls of
// [VMs] and what comes back into the JSON of package api, and errors into statuses
// and codes. The routes are data, in [routes], with who may use each; a test
// walks them. Typed JSON calls are read, checked and documented by huma; what
// streams, upgrades or has an odd path is served by hand.
package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

const (
	headerTimeout  = 10 * time.Second
	keepAlive      = 2 * time.Minute // of a connection without requests
	lastWords      = 2 * time.Second // from cutting requests off to closing their connections
	maxHeaderBytes = 64 << 10
	maxBodyBytes   = 1 << 20 // of a JSON body that is not a file
)

// VMs is what the API drives. Its methods return [*coppice.Error] for what a
// user should be told. A VM of another account is one that does not exist. The
// methods that change a VM return when it is done; when ctx ends before, they
// stop waiting, and the work goes on.
type VMs interface {
	Create(ctx context.Context, spec coppice.NewVM) (coppice.VM, error)
	VM(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error)
	VMs(ctx context.Context, account coppice.AccountID, includeDeleted bool) ([]coppice.VM, error)
	Start(ctx context.Context, account coppice.AccountID, id coppice.VMID, opts coppice.StartOptions) (coppice.VM, error)
	Stop(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error)
	Kill(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error)
	Delete(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error)
	Suspend(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error)
	Resize(ctx context.Context, account coppice.AccountID, id coppice.VMID, spec coppice.ResizeSpec) (coppice.VM, error)
	// Fork returns the children in their order, those too that failed.
	Fork(ctx context.Context, account coppice.AccountID, id coppice.VMID, spec coppice.ForkSpec) ([]coppice.Fork, error)
	// Optimize gives back what is stored and not needed, and says what that was.
	Optimize(ctx context.Context, account coppice.AccountID, id coppice.VMID) (string, error)
	// Await returns when the current run has ended.
	Await(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Exit, error)
	// Use returns the session of a VM, which it wakes if it is suspended. It
	// stays the owner's: it is not closed here. Until release the VM is in use,
	// for what by says, and not idle.
	Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, by string) (session coppice.Session, release func(), err error)
	// Touch says that bytes moved to or from a VM that is not in use.
	Touch(id coppice.VMID)
	Console(ctx context.Context, account coppice.AccountID, id coppice.VMID) ([]byte, error)
	// Link says what a VM may reach, and what has gone to and from it.
	Link(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Link, error)
	// SetEgress changes what a VM may reach; empty is the host's default.
	SetEgress(ctx context.Context, account coppice.AccountID, id coppice.VMID, egress coppice.Egress) (coppice.Link, error)
	// Stats measures a VM. It does not count as a use of it.
	Stats(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Stats, error)
	// SetPrivate says whether what a VM serves on the web is for those only who may use it.
	SetPrivate(ctx context.Context, account coppice.AccountID, id coppice.VMID, private bool) (coppice.VM, error)
	// Limits returns what the account may have at a time, and what it has.
	Limits(ctx context.Context, account coppice.AccountID) (coppice.Limits, coppice.Usage, error)
	// Host says what the host has, and what VMs take of it.
	Host(ctx context.Context) (coppice.Host, error)
	// Ways lists what may be asked of a VM in each state.
	Ways() []coppice.Way
	// Tree returns the account's VMs and snapshots, and what they come from.
	Tree(ctx context.Context, account coppice.AccountID) ([]coppice.Branch, error)
	// Audit compares what the store says with what the host has, of all
	// accounts, and mends what is safe if repair is set.
	Audit(ctx context.Context, repair bool) ([]coppice.Discrepancy, error)

	Snapshots
	Histories
}

// Snapshots is the part of [VMs] that has to do with snapshots. One of another
// account is one that does not exist.
type Snapshots interface {
	TakeSnapshot(ctx context.Context, account coppice.AccountID, id coppice.VMID, name string, persistence coppice.Persistence) (coppice.Capture, error)
	// Snapshots lists deleted ones too, as long as VMs need them.
	Snapshots(ctx context.Context, account coppice.AccountID) ([]coppice.Capture, error)
	Snapshot(ctx context.Context, account coppice.AccountID, id coppice.CaptureID) (coppice.Capture, error)
	RenameSnapshot(ctx context.Context, account coppice.AccountID, id coppice.CaptureID, name string) (coppice.Capture, error)
	DeleteSnapshot(ctx context.Context, account coppice.AccountID, id coppice.CaptureID) error
}

// Access is who may use the host, and how that changes. An account's keys and
// identities are for the account itself; those of another are not there.
type Access interface {
	Authenticator
	Keys
	SSHKeys
	Accounts
	Identities
}

// Config is what a [Server] needs. All of it is required but Ingress, SSH, Doctor, Dashboard and RequestRate.
type Config struct {
	VMs     VMs
	Access  Access
	Domains Domains
	Ready   func(context.Context) error // nil when requests can be served; else why not
	Log     *slog.Logger
	Version string // of the daemon
	// SpoolDir is where large uploads wait that cannot be passed on as they
	// come. Files in it have no names.
	SpoolDir string
	// Ingress says where the ports of VMs are by HTTP, if they are anywhere.
	Ingress api.Ingress
	SSH     api.SSHGateway // no port: there is none
	// Doctor looks at the host, and says what it found.
	Doctor func(context.Context) []api.Finding
	// Dashboard serves / and what is below /assets/, to anyone.
	Dashboard http.Handler
	Metrics   Metrics
	Traces    Traces // nil: there are none
	// RequestRate is how many requests an account may make in a second, and ten
	// times as many at once; 0 is no limit.
	RequestRate int
}

// A Server is the API as an [http.Handler] and on a listener.
type Server struct {
	config  Config
	router  chi.Router
	huma    huma.API
	openAPI []byte
	http    *http.Server

	leaving context.Context // done when Shutdown has begun
	leave   context.CancelCauseFunc
	cut     context.CancelCauseFunc // ends every request
	streams sync.WaitGroup          // WebSockets, which http.Server forgets

	slowest  slowness
	throttle throttle
}

// errLeaving is why requests end that the daemon does not wait for.
var errLeaving = errors.New("the daemon is stopping")

// New returns a server that does not listen yet.
func New(config Config) (*Server, error) {
	if config.Traces == nil {
		config.Traces = noTraces{}
	}
	s := &Server{config: config, router: chi.NewRouter(), slowest: tolerated}
	s.throttle = throttle{rate: config.RequestRate, due: map[coppice.AccountID]time.Time{}}
	s.leaving, s.leave = context.WithCancelCause(context.Background())
	base, cut := context.WithCancelCause(context.Background())
	s.cut = cut
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       keepAlive,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelDebug),
	}
	s.huma = newHuma(s.router, config.Version)
	s.register(s.routes())
	var err error
	if s.openAPI, err = json.Marshal(s.huma.OpenAPI()); err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// Serve answers on l until Shutdown, and then returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops taking requests, ends those that wait for something to happen,
// and returns when all others have been answered. When ctx ends before, they
// are cut off, and the error is ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.leave(errLeaving)
	err := s.http.Shutdown(ctx)
	ended := make(chan struct{})
	go func() {
		s.streams.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.cut(errLeaving)
	if err != nil {
		// Those that are cut off still say so.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		s.http.Shutdown(ctx)
	}
	return errors.Join(err, s.http.Close())
}

// whileServing returns a context that also ends when Shutdown begins: for what
// waits for something that need not ever happen.
func (s *Server) whileServing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.leaving, func() { cancel(errLeaving) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
