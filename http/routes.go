package http

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// A route is one line of the API.
type route struct {
	method  string // every, or one
	path    string // chi's pattern
	who     audience
	id      string // of the operation, in /openapi.json; empty is not shown there
	summary string
	bind    binding
}

const every = "*"

// A binding puts a route's handler in place. It is called once, with what is
// known about the route.
type binding func(s *Server, r chi.Router, op huma.Operation)

// routes is the API. chi lets a literal segment win over a parameter, so that
// "snapshots" and "builds" are not taken for VMs.
func (s *Server) routes() []route {
	offered := []route{
		{"GET", "/healthz", anyone, "health", "Say whether the daemon takes requests", plain(s.health, returnsJSON[api.Health]())},
		{"GET", "/openapi.json", anyone, "openapi", "Describe the API", plain(s.describe, returns("application/json"))},
		{"GET", "/auth/v1/whoami", holder, "whoami", "Say whom the API key or token belongs to", typed(s.whoAmI)},

		{"GET", "/v1/ingress", holder, "ingress", "Say where the ports of VMs are by HTTP", plain(s.ingress, returnsJSON[api.Ingress]())},

		{"POST", "/v1/vms", owner, "createVM", "Create a VM and wait until it runs", typed(s.createVM)},
		{"GET", "/v1/vms", owner, "listVMs", "List VMs, oldest first", typed(s.listVMs)},
		{"GET", "/v1/vms/{vm_id}", owner, "getVM", "Say what is known about a VM", typed(s.getVM)},
		{"DELETE", "/v1/vms/{vm_id}", owner, "deleteVM", "Delete a VM for good", typed(s.deleteVM)},
		{"POST", "/v1/vms/{vm_id}/start", owner, "startVM", "Boot a stopped VM, or go on with a suspended one, and wait until it runs", typed(s.startVM)},
		{"POST", "/v1/vms/{vm_id}/stop", owner, "stopVM", "Shut a VM down and wait until it has stopped", typed(s.stopVM)},
		{"POST", "/v1/vms/{vm_id}/kill", owner, "killVM", "End a VM's run without asking the guest", typed(s.killVM)},
		{"POST", "/v1/vms/{vm_id}/suspend", owner, "suspendVM", "Keep what a running VM is and end its process", typed(s.suspendVM)},
		{"POST", "/v1/vms/{vm_id}/resize", owner, "resizeVM", "Give a VM another size; one that runs is shut down for it and boots again", typed(s.resizeVM)},
		{"POST", "/v1/vms/{vm_id}/fork", owner, "forkVM", "Make VMs that go on from where one is now, and wait until they can be used", typed(s.forkVM)},
		{"POST", "/v1/vms/{vm_id}/optimize", owner, "optimizeVM", "Give back what is stored for a VM and not needed", typed(s.optimizeVM)},
		{"POST", "/v1/vms/{vm_id}/await", owner, "awaitVM", "Wait until the current run has ended", parsed[vmInput, api.Exited](s.awaitVM)},
		{"GET", "/v1/vms/{vm_id}/history", owner, "vmHistory", "Say what happened to a VM, and why", typed(s.vmHistory)},
		{"GET", "/v1/vms/{vm_id}/console", owner, "readConsole", "Read what the serial console has printed, the last part of it", plain(s.console, returns("text/plain"))},
		{"GET", "/v1/vms/{vm_id}/stats/stream", owner, "streamStats", "Report what a VM takes of the host, again and again, as server-sent events", plain(s.stats, streamsStats)},

		{"GET", "/v1/vms/{vm_id}/network", owner, "getNetwork", "Say what a VM may reach, and what has gone to and from it", typed(s.getNetwork)},
		{"PUT", "/v1/vms/{vm_id}/network", owner, "setNetwork", "Change what a VM may reach, at once", typed(s.setNetwork)},
		{"PUT", "/v1/vms/{vm_id}/ingress", owner, "setIngress", "Say who may visit what a VM serves on the web, at once", typed(s.setIngress)},

		{"POST", "/v1/vms/{vm_id}/snapshot", owner, "snapshotVM", "Keep what a VM is now, as a snapshot", typed(s.snapshotVM)},
		{"GET", "/v1/vms/snapshots", owner, "listSnapshots", "List snapshots, oldest first", typed(s.listSnapshots)},
		{"GET", "/v1/vms/snapshots/{snapshot_id}", owner, "getSnapshot", "Say what is known about a snapshot", typed(s.getSnapshot)},
		{"PATCH", "/v1/vms/snapshots/{snapshot_id}", owner, "updateSnapshot", "Rename a snapshot", typed(s.updateSnapshot)},
		{"DELETE", "/v1/vms/snapshots/{snapshot_id}", owner, "deleteSnapshot", "Delete a snapshot; VMs that came from it go on", typed(s.deleteSnapshot)},

		{"GET", "/v1/limits", owner, "limits", "Say what the account may have at a time, and what it has", typed(s.limits)},
		{"GET", "/v1/host", admin, "host", "Say what the host has, and what VMs take of it", typed(s.host)},
		{"GET", "/v1/doctor", admin, "doctor", "Look at the host: what is missing, and how to mend it", typed(s.doctor)},
		{"GET", "/v1/lifecycle", owner, "lifecycle", "Say what may be asked of a VM in which state, and where that leads", typed(s.lifecycle)},
		{"GET", "/v1/events", owner, "events", "Report what happens to VMs, as server-sent events; comments say that the stream lives", plain(s.events, returns("text/event-stream"))},
		{"GET", "/v1/ssh", holder, "sshGateway", "Say where SSH to VMs is served, and the key it is known by", typed(s.sshGateway)},
		{"GET", "/v1/tree", owner, "tree", "Say where VMs and snapshots come from, and what they take of the host", typed(s.tree)},

		{"POST", "/v1/vms/{vm_id}/exec-await", guestUser, "execAwait", "Run a command to its end", parsed[execInput, api.ExecResult](s.execAwait)},
		{"GET", "/v1/vms/{vm_id}/exec", guestUser, "exec", "Run a command over a WebSocket, its standard streams connected", plain(s.execStream, upgrades)},

		{"GET", "/v1/vms/{vm_id}/pty", guestUser, "openTerminal", "Open a terminal over a WebSocket; it lives on without one", plain(s.openTerminal, terminalUpgrades)},
		{"GET", "/v1/vms/{vm_id}/pty/sessions", guestUser, "listTerminals", "List terminals, oldest first", plain(s.listTerminals, returnsTerminals[api.Terminals])},
		{"GET", "/v1/vms/{vm_id}/pty/sessions/{session_id}", guestUser, "attachTerminal", "Attach to a terminal over a WebSocket", plain(s.attachTerminal, terminalUpgrades)},
		{"DELETE", "/v1/vms/{vm_id}/pty/sessions/{session_id}", guestUser, "closeTerminal", "Hang a terminal up, and wait until its program has ended", plain(s.closeTerminal, returnsTerminals[api.ClosedTerminal])},
		{"GET", "/v1/vms/{vm_id}/ports", guestUser, "listPorts", "List the ports of a running VM on which something listens", plain(s.ports, returnsPorts)},
		{"GET", "/v1/vms/{vm_id}/forward/{port}", guestUser, "forward", "Connect a WebSocket to a TCP port of the guest", plain(s.forward, connects)},

		{"GET", "/v1/vms/{vm_id}/files/*", guestUser, "readFile", "Read a file, or list a directory", plain(s.readFile, returnsFile)},
		{"PUT", "/v1/vms/{vm_id}/files/*", guestUser, "writeFile", "Replace a file, atomically, and make its parents", plain(s.writeFile, takesFile)},
		// The npm client's readDir("..") arrives like this: URLs lose such segments on their way.
		{"GET", "/v1/vms/{vm_id}/", guestUser, "", "List the parent of the home directory", plain(s.readFile, nil)},
		{"POST", "/v1/vms/{vm_id}/watch-files", guestUser, "watchFiles", "Report changes below the home directory, as lines of JSON; blank lines say that the watch lives", plain(s.watchFiles, returns("application/x-ndjson"))},
	}
	return slices.Concat(offered, s.accessRoutes(), s.domainRoutes(), s.dashboardRoutes(), s.notOffered())
}

// dashboardRoutes are those of the page, where there is one.
func (s *Server) dashboardRoutes() []route {
	if s.config.Dashboard == nil {
		return nil
	}
	page := plain(func(w http.ResponseWriter, r *http.Request, _ caller) error {
		s.config.Dashboard.ServeHTTP(w, r)
		return nil
	}, nil)
	return []route{
		{"GET", "/", anyone, "", "Show the dashboard", page},
		{"GET", "/assets/*", anyone, "", "Send what the dashboard is made of", page},
	}
}

// register puts routes in place, behind what every request goes through.
func (s *Server) register(routes []route) {
	s.router.Use(s.trace, s.logged, s.recovered, s.bounded)
	s.router.NotFound(s.handle(noRoute))
	s.router.MethodNotAllowed(s.handle(s.wrongMethod))
	for _, rt := range routes {
		s.offer(rt)
	}
}

// offer puts one route in place, behind a check of who calls it.
func (s *Server) offer(rt route) {
	rt.bind(s, s.router.With(s.admitting(rt.who)), huma.Operation{
		Method:      rt.method,
		Path:        rt.path,
		OperationID: rt.id,
		Summary:     rt.summary,
		Security:    security(rt.who),
		Hidden:      rt.id == "",
	})
}

// parsed lets huma read, check and document a request; handle answers by itself.
func parsed[In, Out any](handle func(w http.ResponseWriter, r *http.Request, who caller, in *In) error) binding {
	return func(s *Server, router chi.Router, op huma.Operation) {
		op.MaxBodyBytes = maxBodyBytes
		// huma would set a deadline for the body and never take it back: it
		// would end requests that take longer.
		op.BodyReadTimeout = -1
		returnsJSON[Out]()(s, &op)
		huma.Register(on(s.huma, router), op, func(_ context.Context, in *In) (*huma.StreamResponse, error) {
			return &huma.StreamResponse{Body: func(hc huma.Context) {
				r, w := humachi.Unwrap(hc)
				s.handle(func(w http.ResponseWriter, r *http.Request) error { return handle(w, r, admitted(r), in) })(w, r)
			}}, nil
		})
		if body := operation(s.huma.OpenAPI(), op).RequestBody; body != nil {
			body.Required = false          // an empty one is {}
			delete(body.Content, rawBytes) // huma adds it for a RawBody
		}
	}
}

// typed is parsed for a handler whose answer is a value.
func typed[In, Out any](handle func(ctx context.Context, who caller, in *In) (Out, error)) binding {
	return parsed[In, Out](func(w http.ResponseWriter, r *http.Request, who caller, in *In) error {
		out, err := handle(r.Context(), who, in)
		if err != nil {
			return err
		}
		return writeJSON(w, out)
	})
}

// plain leaves the request to handle. doc completes the operation for
// /openapi.json; nil leaves it out.
func plain(handle func(w http.ResponseWriter, r *http.Request, who caller) error, doc func(*Server, *huma.Operation)) binding {
	return func(s *Server, router chi.Router, op huma.Operation) {
		handler := s.handle(func(w http.ResponseWriter, r *http.Request) error { return handle(w, r, admitted(r)) })
		if op.Method == every {
			router.HandleFunc(op.Path, handler)
		} else {
			router.MethodFunc(op.Method, op.Path, handler)
		}
		if doc == nil {
			return
		}
		documentPath(&op)
		doc(s, &op)
		s.huma.OpenAPI().AddOperation(&op)
	}
}

// handle makes an http.HandlerFunc of a handler that may fail.
func (s *Server) handle(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

func noRoute(_ http.ResponseWriter, r *http.Request) error {
	return coppice.Errorf(coppice.CodeNotFound, "there is no %s %s in this API; GET /openapi.json says what there is", r.Method, r.URL.Path)
}

func (s *Server) wrongMethod(w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		if s.router.Match(chi.NewRouteContext(), m, r.URL.EscapedPath()) {
			allowed = append(allowed, m)
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	err := coppice.Errorf(coppice.CodeInvalidRequest, "%s does not go with %s, only %s", r.Method, r.URL.Path, strings.Join(allowed, " and "))
	return at(http.StatusMethodNotAllowed, err)
}
