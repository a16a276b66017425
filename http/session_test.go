package http

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// signIn begins a session of alice's and returns its halves.
func (h *harness) signIn() (cookie *http.Cookie, header string) {
	h.t.Helper()
	a := h.do("POST", "/auth/v1/browser-session", "")
	var session api.BrowserSession
	if err := json.Unmarshal([]byte(a.body), &session); err != nil {
		h.t.Fatalf("%v: %s", err, a.body)
	}
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		h.t.Fatalf("%d cookies", len(cookies))
	}
	return cookies[0], api.HeaderBrowserSession + ": " + session.Secret
}

func TestBrowserSession(t *testing.T) {
	h := newHarness(t)
	cookie, header := h.signIn()
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" {
		t.Errorf("the cookie is too free: %v", cookie)
	}
	if cookie.Secure {
		t.Error("a browser that came without TLS would not send the cookie")
	}
	a := h.do("POST", "/auth/v1/browser-session", "", "Origin: https://coppice.example.com")
	if set := a.header.Get("Set-Cookie"); !strings.Contains(set, "; Secure") {
		t.Errorf("the cookie of a browser that came by TLS would be sent without: %s", set)
	}
	half := "Cookie: " + cookie.Name + "=" + cookie.Value
	_, other := h.signIn()
	for _, c := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"both halves", []string{half, header}, 200},
		{"the cookie alone, as other ports of the host get it", []string{half}, 401},
		{"the page's half alone", []string{header}, 401},
		{"halves of two sessions", []string{half, other}, 401},
		{"a cookie that was changed", []string{half[:len(half)-2] + "AA", header}, 401},
		{"no session", []string{half, api.HeaderBrowserSession + ": x"}, 401},
		{"a key that is wrong, beside a session", []string{half, header, "Authorization: Bearer wrong"}, 401},
	} {
		headers := c.headers
		if len(headers) < 3 {
			headers = append([]string{"Authorization:"}, headers...)
		}
		if a := h.do("GET", "/v1/vms", "", headers...); a.status != c.status {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
	}
	for _, secret := range []string{"alice-key", cookie.Value, strings.Fields(header)[1]} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log has the secret %s", secret)
		}
	}
	if strings.Contains(cookie.Value, "alice") {
		t.Error("the cookie has the key")
	}
}

func TestBrowserSessionEndsWithItsKey(t *testing.T) {
	h := newHarness(t)
	cookie, header := h.signIn()
	if err := h.people.DeleteKey(t.Context(), alice, "alice-key"); err != nil {
		t.Fatal(err)
	}
	a := h.do("GET", "/v1/vms", "", "Authorization:", "Cookie: "+cookie.Name+"="+cookie.Value, header)
	if a.status != 401 || a.code() != "UNAUTHORIZED_ERROR" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestSignOutForgetsTheCookie(t *testing.T) {
	h := newHarness(t)
	cookie, header := h.signIn()
	a := h.do("DELETE", "/auth/v1/browser-session", "", "Authorization:", "Cookie: "+cookie.Name+"="+cookie.Value, header)
	gone := (&http.Response{Header: a.header}).Cookies()
	if a.status != 200 || len(gone) != 1 || gone[0].Name != cookie.Name || gone[0].MaxAge >= 0 || gone[0].Value != "" {
		t.Errorf("%d %v", a.status, gone)
	}
}

// A page of this host's own attaches to terminals; one of another does not,
// whatever it sends.
func TestTerminalsOfBrowsers(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{}))
	cookie, header := h.signIn()
	_, secret, _ := strings.Cut(header, ": ")
	dial := func(origin string, protocols ...string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(t.Context(), h.url+"/v1/vms/"+vm+"/pty", &websocket.DialOptions{
			HTTPHeader:   http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}, "Origin": {origin}},
			Subprotocols: protocols,
		})
	}
	conn, _, err := dial(h.url, api.ProtocolBrowser, api.ProtocolBrowserSession+secret)
	if err != nil {
		t.Fatal(err)
	}
	if conn.Subprotocol() != api.ProtocolBrowser {
		t.Errorf("speaks %q", conn.Subprotocol())
	}
	conn.CloseNow()
	if _, resp, err := dial("http://elsewhere.example", api.ProtocolBrowser, api.ProtocolBrowserSession+secret); err == nil || resp.StatusCode != 403 {
		t.Errorf("from elsewhere: %v", err)
	}
	if _, resp, err := dial(h.url, api.ProtocolBrowser); err == nil || resp.StatusCode != 401 {
		t.Errorf("with the cookie alone: %v", err)
	}
}

// Whatever a guest has in its files and logs, no browser takes it for a page.
func TestAnswersAreWhatTheySay(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{}))
	for _, path := range []string{"/v1/vms", "/v1/vms/" + vm + "/console", "/v1/nothing"} {
		if a := h.do("GET", path, ""); a.header.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(a.header.Get("Content-Type"), "html") {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

func TestLifecycle(t *testing.T) {
	h := newHarness(t)
	a := h.do("GET", "/v1/lifecycle", "")
	const want = `{"steps":[{"ask":"start","from":"lost","works":"running","fails":"stopped"},{"ask":"delete","from":"stopped","fails":"lost"}]}`
	if a.status != 200 || strings.TrimSpace(a.body) != want {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// The page is there for anyone, and takes no path from the API.
func TestDashboardRoutes(t *testing.T) {
	h := newHarness(t)
	h.server.config.Dashboard = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.URL.Path)) })
	for _, rt := range h.server.dashboardRoutes() {
		h.server.offer(rt)
	}
	for path, status := range map[string]int{"/": 200, "/assets/js/main.js": 200, "/v1": 404, "/index.html": 404, "/v1/vms": 401} {
		if a := h.do("GET", path, "", "Authorization:"); a.status != status || status == 200 && a.body != path {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}
