package ingress

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/coppice-vm/coppice"
)

// A passage is a request on its way to a VM.
type passage struct {
	ctx     context.Context // ends with it, or when the client leaves
	to      upstream
	ours    bool   // what the request has as Authorization is for us
	public  bool   // it was let in because the VM was
	release func() // ends that the request alone keeps the VM in use
	cancel  context.CancelCauseFunc
	unhook  func() bool // ends that it ends when the daemon leaves
}

type passageKey struct{}

func passageOf(ctx context.Context) *passage {
	p, _ := ctx.Value(passageKey{}).(*passage)
	return p
}

// ServeHTTP passes a request on to the VM that its host name leads to.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.forward(w, r); err != nil {
		s.fail(w, r, err)
	}
}

// forward passes a request on, or says why it cannot even be tried.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodConnect {
		return coppice.Errorf(coppice.CodeInvalidRequest, "this is no proxy for CONNECT")
	}
	target, err := s.config.Directory.find(r.Context(), hostName(r.Host))
	if err != nil {
		return err
	}
	vm, err := s.config.Records.VM(r.Context(), target.VM)
	if err != nil {
		return noVM(target.VM, err)
	}
	if r.URL.Path == signInPath {
		return s.signIn(w, r, &vm)
	}
	return s.admit(r, &vm, func(ctx context.Context, ours bool) error {
		return s.pass(w, r.WithContext(ctx), &vm, target.Port, ours)
	})
}

// pass passes a request on that may visit a VM.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, vm *coppice.VM, port uint16, ours bool) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	p := &passage{ctx: ctx, to: upstream{vm: vm.ID, port: port}, ours: ours, public: !vm.Private, cancel: cancel, unhook: func() bool { return false }}
	if !s.enter(p) {
		return coppice.Errorf(coppice.CodeUnavailable, "VM %s has %d requests in flight, which is the most; try again when some are done", vm.ID, maxPerVM)
	}
	defer s.exit(p)
	now, release, err := s.wake(ctx, vm)
	defer release()
	switch {
	case errors.Is(context.Cause(ctx), coppice.ErrRevoked), now.Private && p.public:
		return isPrivate(vm)
	case err != nil:
		return err
	}
	p.to.instance, p.release = now.Instance, release
	defer func() { p.unhook() }()
	if r.ProtoMajor == 1 {
		// Else the server would read all of the request before the answer may begin.
		_ = http.NewResponseController(w).EnableFullDuplex() // not there in every test
	}
	s.proxy.ServeHTTP(w, r.WithContext(context.WithValue(ctx, passageKey{}, p)))
	return nil
}

// wake has a VM run, and keeps it in use until release. It returns its row as it
// is then: what run it is can only be read afterwards.
func (s *Server) wake(ctx context.Context, vm *coppice.VM) (now coppice.VM, release func(), err error) {
	_, release, err = s.config.VMs.Use(ctx, vm.Account, vm.ID, "http")
	if err != nil {
		return now, func() {}, err
	}
	if now, err = s.config.Records.VM(ctx, vm.ID); err != nil {
		err = noVM(vm.ID, err)
	}
	return now, release, err
}

func noVM(id coppice.VMID, err error) error {
	if errors.Is(err, coppice.ErrNoVM) {
		return coppice.NoVM(id)
	}
	return err
}

// rewrite makes the request to a VM of one from a client, without what was shown
// to us. What clients say of where they come from is not believed: it is gone already.
func rewrite(r *httputil.ProxyRequest) {
	p := passageOf(r.In.Context())
	if dropSessions(r.Out.Header); p.ours {
		r.Out.Header.Del("Authorization")
	}
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = p.to.String()
	r.Out.URL.RawQuery = r.In.URL.RawQuery // as it came, also where it is odd
	r.Out.Host = r.In.Host
	r.SetXForwarded()
}

// answered is called when an answer has begun. If it may go on without end the
// VM is in use only when something moves, and a daemon that leaves does not wait.
func (s *Server) answered(resp *http.Response) error {
	if resp.StatusCode != http.StatusSwitchingProtocols && resp.ContentLength >= 0 && !isEventStream(resp.Header) {
		return nil
	}
	p := passageOf(resp.Request.Context())
	p.release()
	p.unhook = context.AfterFunc(s.leaving, func() { p.cancel(errLeaving) })
	return nil
}

func isEventStream(h http.Header) bool { return mediaType(h) == "text/event-stream" }

// isGRPC reports whether h are of a call by gRPC, not by gRPC-Web.
func isGRPC(h http.Header) bool {
	t := mediaType(h)
	return t == "application/grpc" || strings.HasPrefix(t, "application/grpc+")
}

func mediaType(h http.Header) string {
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return t
}
