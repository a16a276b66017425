package http

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/internal/moving"
	"github.com/coppice-vm/coppice/internal/wsconn"
)

// forward connects a WebSocket to a TCP port of the guest, as the guest reaches
// it itself: binary messages are the bytes, an empty text message ends one way.
// The VM is in use when bytes move.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, who caller) error {
	port, err := parsePort(r.PathValue("port"))
	if err != nil {
		return err
	}
	session, release, err := s.use(r.Context(), who, r.PathValue("vm_id"), "forward")
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := s.whileServing(r.Context())
	defer cancel()
	guest, err := session.Dial(ctx, r.Header.Get(api.HeaderLinuxUser), "tcp", net.JoinHostPort("localhost", strconv.Itoa(int(port))))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return at(http.StatusBadGateway, coppice.Errorf(coppice.CodeUnavailable, "nothing listens on port %d of the VM", port).Because(err))
	}
	if err != nil {
		return endOf(ctx, err)
	}
	defer guest.Close()
	if err := wantsWebSocket(r, "this is a WebSocket, which becomes a connection to the port"); err != nil {
		return err
	}
	ws, done := s.accept(w, r)
	if ws == nil {
		return nil
	}
	defer done()
	release()
	vm := coppice.VMID(r.PathValue("vm_id"))
	moved := moving.Conn(guest, func() { s.config.VMs.Touch(vm) })
	err = wsconn.Join(wsconn.New(ctx, ws), moved.(wsconn.Stream))
	s.config.Log.Debug("a forwarded connection ended", "trace", traceOf(r.Context()), "error", err)
	return nil
}

func parsePort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || port == 0 {
		return 0, coppice.Errorf(coppice.CodeInvalidRequest, "a port is a number from 1 to 65535; not %q", s)
	}
	return uint16(port), nil
}

// ingress says where the ports of VMs are by HTTP.
func (s *Server) ingress(w http.ResponseWriter, _ *http.Request, _ caller) error {
	if s.config.Ingress == (api.Ingress{}) {
		return at(http.StatusNotImplemented, coppice.Errorf(coppice.CodeUnavailable, "this host has no HTTP ingress: --ingress-listen and --ingress-tls-listen are off"))
	}
	return writeJSON(w, s.config.Ingress)
}
