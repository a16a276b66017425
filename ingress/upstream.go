package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/moving"
)

const (
	dialTimeout = 30 * time.Second // an emulated guest that is busy takes its time
	// upstreamIdle is how long a connection to a VM is kept for the next request:
	// less than any usual server keeps it (5 s, most of them), which would close
	// it just as a request is sent.
	upstreamIdle        = 4 * time.Second
	upstreamIdleConns   = 256 // for all VMs
	upstreamIdlePerPort = 32
	maxAnswerHeader     = 256 << 10
)

// An upstream is a port of one run of a VM. Connections are kept by it, so that
// none to a run that is over is ever used again.
type upstream struct {
	vm       coppice.VMID
	instance coppice.InstanceID
	port     uint16
}

// String is the upstream as the host of a URL.
func (u upstream) String() string {
	return fmt.Sprintf("%s.%s:%d", u.vm, u.instance, u.port)
}

func parseUpstream(address string) (upstream, error) {
	host, port, err := net.SplitHostPort(address)
	vm, instance, ok := strings.Cut(host, ".")
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err = errors.Join(err, portErr); err != nil || !ok {
		return upstream{}, fmt.Errorf("%q is no upstream: %w", address, err)
	}
	return upstream{coppice.VMID(vm), coppice.InstanceID(instance), uint16(n)}, nil
}

// errMoved is why a connection is not used: the run that it was to is over.
var errMoved = errors.New("the VM has another run now")

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// roundTrip sends a request to a VM: gRPC by HTTP/2, as its servers know nothing
// else, all other by HTTP/1.1, as every server knows that. It is sent once more
// only where that is safe: see [http.Transport].
func (s *Server) roundTrip(r *http.Request) (*http.Response, error) {
	if isGRPC(r.Header) {
		return s.h2.RoundTrip(r)
	}
	return s.h1.RoundTrip(r)
}

// transports returns what keeps the connections to the VMs, by HTTP/1.1 and by HTTP/2.
func (s *Server) transports() (h1, h2 *http.Transport) {
	h1 = &http.Transport{
		DialContext:            s.dial,
		DisableCompression:     true, // what the client did not ask for
		MaxIdleConns:           upstreamIdleConns,
		MaxIdleConnsPerHost:    upstreamIdlePerPort,
		IdleConnTimeout:        upstreamIdle,
		MaxResponseHeaderBytes: maxAnswerHeader,
		Protocols:              new(http.Protocols),
	}
	h1.Protocols.SetHTTP1(true)
	h2 = h1.Clone()
	h2.Protocols = new(http.Protocols)
	h2.Protocols.SetUnencryptedHTTP2(true)
	return h1, h2
}

// dial connects to an upstream, or fails with errMoved. The transport would go on
// when the client has left; but a VM that does not answer is not asked for nobody.
func (s *Server) dial(ctx context.Context, _, address string) (net.Conn, error) {
	to, err := parseUpstream(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(passageOf(ctx).ctx, dialTimeout)
	defer cancel()
	vm, err := s.config.Records.VM(ctx, to.vm)
	if err != nil {
		return nil, noVM(to.vm, err)
	}
	conn, err := s.reach(ctx, vm.Account, to.vm, to.port)
	if err != nil {
		return nil, err
	}
	// A run that was the VM's before the connection was made, and is it after,
	// was it meanwhile: no run comes back.
	if vm, err = s.config.Records.VM(ctx, to.vm); err != nil || vm.Instance != to.instance {
		conn.Close()
		return nil, errors.Join(errMoved, err)
	}
	return moving.Conn(conn, func() { s.config.VMs.Touch(to.vm) }), nil
}
