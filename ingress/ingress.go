// Package ingress makes what listens on a port of a VM a place on the web: it
// takes HTTP and HTTPS requests for the names of VMs' ports and for names that
// accounts have mapped ([Directory]), lets nobody but the owner's into private VMs
// ([Sessions]), wakes the VM if it sleeps, and passes them on. It has certificates
// for those names, of its own authority ([CA]) or by ACME.
//
// What comes back comes from a stranger's program: nothing of it is looked at
// but what says how to pass it on. docs/INGRESS.md says what its users see.
package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/coppice-vm/coppice"
)

const (
	headerTimeout  = 10 * time.Second // for all of a request's header to be there
	keepAlive      = 2 * time.Minute  // of a connection without requests
	maxHeaderBytes = 64 << 10
	// maxConns is how many clients may be connected; more wait for one to leave.
	maxConns = 8192
	// maxPerVM is how many requests one VM may have in flight, those included
	// that wait for it to wake.
	maxPerVM = 1024
)

// VMs is how ingress gets into a VM.
type VMs interface {
	// Use returns the session of a VM, which it wakes if it is suspended. Until
	// release the VM is in use.
	Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, by string) (session coppice.Session, release func(), err error)
	// Touch says that bytes moved to or from a VM.
	Touch(id coppice.VMID)
}

// Network is how ingress reaches what listens on a VM's network. It is the part
// of [coppice.Network] by that name.
type Network interface {
	Dial(ctx context.Context, id coppice.VMID, port uint16) (net.Conn, error)
}

// Records is where ingress looks VMs up, whoever owns them.
type Records interface {
	// VM returns a VM, tombstones included. [coppice.ErrNoVM] if there is none.
	VM(ctx context.Context, id coppice.VMID) (coppice.VM, error)
}

// Config is what a [Server] needs. All of it is required but TLS and ACME.
type Config struct {
	VMs       VMs
	Records   Records
	Network   Network
	Directory *Directory
	Access    Access
	Sessions  *Sessions
	// TLS is for ServeTLS, and ACME if certificates come from one; nil if that is
	// not called.
	TLS  *tls.Config
	ACME *ACME
	Log  *slog.Logger
}

// A Server passes requests on, as an [http.Handler] and on listeners.
type Server struct {
	config Config
	http   *http.Server
	proxy  *httputil.ReverseProxy
	h1, h2 *http.Transport // to the VMs

	mu       sync.Mutex
	inFlight map[coppice.VMID]map[*passage]bool

	leaving context.Context // done when Shutdown has begun
	leave   context.CancelCauseFunc
	cut     context.CancelCauseFunc // ends every request
}

// errLeaving is why requests end that the daemon does not wait for.
var errLeaving = errors.New("the daemon is stopping")

// New returns a server that does not listen yet.
func New(config Config) *Server {
	s := &Server{config: config, inFlight: map[coppice.VMID]map[*passage]bool{}}
	s.leaving, s.leave = context.WithCancelCause(context.Background())
	base, cut := context.WithCancelCause(context.Background())
	s.cut = cut
	quiet := slog.NewLogLogger(config.Log.Handler(), slog.LevelDebug)
	s.h1, s.h2 = s.transports()
	s.proxy = &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      roundTripper(s.roundTrip),
		FlushInterval:  -1, // whatever comes goes on at once
		ModifyResponse: s.answered,
		ErrorHandler:   s.fail,
		ErrorLog:       quiet,
	}
	s.http = &http.Server{
		Handler:           s,
		TLSConfig:         config.TLS,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       keepAlive,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         new(http.Protocols),
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          quiet,
	}
	if config.ACME != nil {
		s.http.Handler, s.http.TLSConfig = config.ACME.Answering(s), config.ACME.TLS()
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	return s
}

// Serve answers on l until Shutdown, and then returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeTLS is Serve for clients that speak TLS.
func (s *Server) ServeTLS(l net.Listener) error {
	if err := s.http.ServeTLS(netutil.LimitListener(l, maxConns), "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops taking requests, cuts off what has no end of its own (event
// streams, WebSockets), and returns when all others have been answered. When ctx
// ends before, they are cut off, and the error is ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.leave(errLeaving)
	err := s.http.Shutdown(ctx)
	s.cut(errLeaving)
	err = errors.Join(err, s.http.Close())
	s.h1.CloseIdleConnections()
	s.h2.CloseIdleConnections()
	return err
}

// enter takes note of a request that a VM has in flight, until exit. It reports
// whether there is room for one more.
func (s *Server) enter(p *passage) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.inFlight[p.to.vm]
	if len(all) >= maxPerVM {
		return false
	}
	if all == nil {
		all = map[*passage]bool{}
		s.inFlight[p.to.vm] = all
	}
	all[p] = true
	return true
}

func (s *Server) exit(p *passage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inFlight[p.to.vm], p)
	if len(s.inFlight[p.to.vm]) == 0 {
		delete(s.inFlight, p.to.vm)
	}
}

// Expel ends every request in flight that was let in because a VM was public. The
// VM's row says by now that it is not.
func (s *Server) Expel(id coppice.VMID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.inFlight[id] {
		if p.public {
			p.cancel(coppice.ErrRevoked)
		}
	}
}
