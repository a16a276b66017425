package http

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"go.uber.org/goleak"

	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/ingress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A harness is a server on a port, with VMs that are not real.
type harness struct {
	t      *testing.T
	server *Server
	vms    *fakeVMs
	people people
	log    *syncBuffer
	url    string
	dir    string // the guest's root
	http   *http.Client
}

// noMetrics counts nothing, and says so.
type noMetrics struct{}

func (noMetrics) Answered(string, string, int, time.Duration)      {}
func (noMetrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("# nothing\n")) }

func newServer(t *testing.T, vms VMs, store access.Store, logs io.Writer) *Server {
	t.Helper()
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := New(Config{
		VMs:      vms,
		Access:   access.New(store, log),
		Domains:  &ingress.Directory{Domain: "vm.localhost", Mappings: newNames(t)},
		Ready:    func(context.Context) error { return nil },
		Metrics:  noMetrics{},
		Log:      log,
		Version:  "test",
		SpoolDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newHarness serves, once the server is as some want it.
func newHarness(t *testing.T, want ...func(*Server)) *harness {
	t.Helper()
	h := &harness{t: t, log: &syncBuffer{}, dir: t.TempDir()}
	h.vms = newFakeVMs(h.dir)
	t.Cleanup(func() { endTerminals(h.vms.guest) })
	h.people = newPeople()
	h.server = newServer(t, h.vms, h.people, h.log)
	for _, want := range want {
		want(h.server)
	}
	ts := httptest.NewUnstartedServer(h.server)
	ts.Config = h.server.http
	ts.Start()
	t.Cleanup(ts.Close)
	h.url = ts.URL
	h.http = &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(h.http.CloseIdleConnections)
	return h
}

func (h *harness) client() *client.Client {
	h.t.Helper()
	c, err := client.New(h.url, "alice-key")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(c.Close)
	return c
}

// An answer has been held against the document, if its operation is in there.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) code() string {
	var e api.Error
	_ = json.Unmarshal([]byte(a.body), &e)
	return e.Code
}

// do sends a request of alice's. Headers are given as "Name: value"; one of
// Authorization replaces alice's key.
func (h *harness) do(method, path, body string, headers ...string) answer {
	h.t.Helper()
	req := h.ask(h.t.Context(), method, path, body, headers)
	resp, err := h.http.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	h.hold(req, resp, b)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// ask returns what [harness.do] sends.
func (h *harness) ask(ctx context.Context, method, path, body string, headers []string) *http.Request {
	h.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.url+path, r)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer alice-key")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, hd := range headers {
		name, value, _ := strings.Cut(hd, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	return req
}

// hold checks what every answer has, and what the document says of this one.
func (h *harness) hold(req *http.Request, resp *http.Response, body []byte) {
	h.t.Helper()
	what := req.Method + " " + req.URL.EscapedPath()
	if resp.Header.Get(api.HeaderTrace) == "" {
		h.t.Errorf("%s: the answer has no trace id", what)
	}
	if resp.StatusCode/100 == 3 || resp.StatusCode == http.StatusNoContent {
		h.t.Errorf("%s: status %d", what, resp.StatusCode)
	}
	if ct := resp.Header.Get("Content-Type"); ct == "application/json" && req.Method != "HEAD" && !json.Valid(body) {
		h.t.Errorf("%s: not JSON: %.200q", what, body)
	}
	if resp.StatusCode >= 400 && req.Method != "HEAD" {
		var e api.Error
		if err := json.Unmarshal(body, &e); err != nil || e.Code == "" || e.Code != e.Error || e.Message == "" {
			h.t.Errorf("%s: not an error of the contract: %d %.200q", what, resp.StatusCode, body)
		} else if _, ok := contractCodes(h.t)[e.Code]; !ok {
			h.t.Errorf("%s: code %s is not the contract's", what, e.Code)
		}
	}
	if !h.documented(req) || resp.StatusCode == http.StatusSwitchingProtocols {
		return
	}
	ok, problems := document(h.t).ValidateHttpResponse(req, resp)
	if !ok {
		for _, p := range problems {
			h.t.Errorf("%s: the answer %d is not as documented: %s: %s\n%.300s", what, resp.StatusCode, p.Message, p.Reason, body)
			for _, e := range p.SchemaValidationErrors {
				h.t.Errorf("  %s: %s", e.FieldPath, e.Reason)
			}
		}
	}
}

// documented reports whether the document has the operation of req.
func (h *harness) documented(req *http.Request) bool {
	for _, rt := range h.server.routes() {
		if rt.id != "" && rt.method == req.Method && matches(rt.path, req.URL.EscapedPath()) {
			return true
		}
	}
	return false
}

// matches reports whether a path is of a pattern, literal segments first.
func matches(pattern, path string) bool {
	ps, ss := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(ps) != len(ss) {
		return false
	}
	for i := range ps {
		if ps[i] != ss[i] && ps[i] != "*" && !strings.HasPrefix(ps[i], "{") || ss[i] == "" && i > 0 {
			return false
		}
	}
	return true
}

// document returns the validator of /openapi.json.
var document = func() func(t *testing.T) validator.Validator {
	var once sync.Once
	var v validator.Validator
	return func(t *testing.T) validator.Validator {
		once.Do(func() {
			s := newServer(t, newFakeVMs(""), newPeople(), io.Discard)
			doc, err := libopenapi.NewDocument(s.openAPI)
			if err != nil {
				t.Fatal(err)
			}
			var errs []error
			if v, errs = validator.NewValidator(doc); len(errs) > 0 {
				t.Fatal(errs)
			}
		})
		return v
	}
}()

func TestDocument(t *testing.T) {
	if ok, problems := document(t).ValidateDocument(); !ok {
		for _, p := range problems {
			t.Errorf("%s: %s", p.Message, p.Reason)
			for _, e := range p.SchemaValidationErrors {
				t.Errorf("  %s: %s", e.FieldPath, e.Reason)
			}
		}
	}
}

// longest remembers how long the last answer was in coming.
type longest struct {
	noMetrics
	after time.Duration
}

func (l *longest) Answered(_, _ string, _ int, after time.Duration) { l.after = after }

// An answer is counted from its beginning: what streams takes as long as it does.
func TestAnswerBegins(t *testing.T) {
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    time.Duration
	}{
		"a status": {func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			w.WriteHeader(http.StatusOK)
			time.Sleep(time.Minute)
		}, time.Second},
		"bytes": {func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(2 * time.Second)
			w.Write([]byte("hello"))
			time.Sleep(time.Minute)
			w.Write([]byte("world"))
		}, 2 * time.Second},
		"nothing": {func(http.ResponseWriter, *http.Request) { time.Sleep(3 * time.Second) }, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var counted longest
				s := &Server{config: Config{Metrics: &counted, Traces: noTraces{}, Log: slog.New(slog.DiscardHandler)}, slowest: tolerated}
				r := chi.NewRouter()
				r.With(s.trace, s.logged).Get("/", tt.handler)
				r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
				if counted.after != tt.want {
					t.Errorf("the answer began after %s, not %s", counted.after, tt.want)
				}
			})
		})
	}
}

// A page that is left open looks every few seconds: that must not fill the log.
func TestLookingIsNotLogged(t *testing.T) {
	for name, tt := range map[string]struct {
		method string
		status int
		logged bool
	}{
		"a look":            {"GET", http.StatusOK, false},
		"nothing is new":    {"GET", http.StatusNotModified, false},
		"a look that fails": {"GET", http.StatusNotFound, true},
		"a WebSocket":       {"GET", http.StatusSwitchingProtocols, true},
		"a change":          {"POST", http.StatusOK, true},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s := &Server{config: Config{Metrics: noMetrics{}, Traces: noTraces{}, Log: slog.New(slog.NewTextHandler(&log, nil))}, slowest: tolerated}
			r := chi.NewRouter()
			r.With(s.trace, s.logged).HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.status) })
			r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(tt.method, "/", nil))
			if got := strings.Contains(log.String(), "msg=request"); got != tt.logged {
				t.Errorf("logged %v: %q", got, log.String())
			}
		})
	}
}
