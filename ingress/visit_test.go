package ingress

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// servePrivate has a private VM answer with what it sees of a visitor's secrets.
func (h *harness) servePrivate() (coppice.VMID, string) {
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "authorization %q cookies %q", r.Header.Values("Authorization"), r.Header.Values("Cookie"))
	})
	h.vms.setPrivate(id, true)
	return id, url
}

// visit makes a request with headers like "Name: value".
func (h *harness) visit(client *http.Client, method, url string, headers ...string) (*http.Response, string) {
	h.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp, string(body)
}

// A private VM answers those who may use it, and sees nothing of what they show;
// others do not even wake it.
func TestPrivate(t *testing.T) {
	h := newHarness(t)
	id, url := h.servePrivate()
	h.access.tokens = map[string]coppice.VMID{"token": id, "other-token": coppice.NewVMID()}
	h.vms.set(id, coppice.Suspended)
	for _, secret := range []string{"", "wrong", "bob-key", "other-token"} {
		resp, body := h.visit(h.client, "GET", url, "Authorization: Bearer "+secret)
		var e struct{ Code, VMID string }
		if err := json.Unmarshal([]byte(body), &e); err != nil || resp.StatusCode != 401 || e.Code != "UNAUTHORIZED_ERROR" || e.VMID != string(id) {
			t.Errorf("%q: %s %s", secret, resp.Status, body)
		}
		if resp.Header.Get("WWW-Authenticate") != `Bearer realm="coppice"` || resp.Header.Get(headerError) != e.Code {
			t.Errorf("%q: %v", secret, resp.Header)
		}
	}
	if h.vms.wakes != 0 {
		t.Error("a stranger woke the VM")
	}
	for _, secret := range []string{"alice-key", "token"} {
		if resp, body := h.visit(h.client, "GET", url, "Authorization: Bearer "+secret); resp.StatusCode != 200 || body != `authorization [] cookies []` {
			t.Errorf("%s: %s %s", secret, resp.Status, body)
		}
	}
	h.access.revoke("token")
	if resp, body := h.visit(h.client, "GET", url, "Authorization: Bearer token"); resp.StatusCode != 401 {
		t.Errorf("a revoked token: %s %s", resp.Status, body)
	}
	// Whose it is does not matter when the VM is public; what is not ours is the program's.
	h.vms.setPrivate(id, false)
	for shown, want := range map[string]string{
		"Bearer bob-key": `[]`, "bearer  bob-key": `[]`, "Bearer other-token": `[]`,
		"Bearer its-own": `["Bearer its-own"]`, "Basic bob-key": `["Basic bob-key"]`,
	} {
		if _, body := h.visit(h.client, "GET", url, "Authorization: "+shown); body != "authorization "+want+" cookies []" {
			t.Errorf("public, %s: %s", shown, body)
		}
	}
	if _, body := h.visit(h.client, "GET", url, "Authorization: Basic x", "Authorization: Bearer bob-key"); body != "authorization [] cookies []" {
		t.Errorf("public, twice: %s", body)
	}
	if resp, body := h.visit(h.client, "GET", url, slices.Repeat([]string{"Authorization: Bearer x"}, 5)...); resp.StatusCode != 400 || !strings.Contains(body, "INVALID_REQUEST") {
		t.Errorf("many: %s %s", resp.Status, body)
	}
	if resp, _ := h.visit(h.client, "GET", url, slices.Repeat([]string{"Authorization: Bearer x"}, 4)...); resp.StatusCode != 200 {
		t.Errorf("as many as may be: %s", resp.Status)
	}
}

// browser is a client with cookies.
func browser(t *testing.T, client *http.Client) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	with := *client
	with.Jar = jar
	return &with
}

const html = "Accept: text/html"

// signIn types a secret on the page at a URL.
func (h *harness) signIn(browser *http.Client, at, secret, to string) (*http.Response, string) {
	h.t.Helper()
	resp, err := browser.PostForm(at+signInPath, url.Values{"secret": {secret}, "to": {to}})
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

// A browser is asked for a key or token once, on a page.
func TestSignIn(t *testing.T) {
	h := newHarness(t)
	id, at := h.servePrivate()
	b := browser(t, h.client)
	resp, body := h.visit(b, "GET", at+"/a?b=c&d", html)
	if resp.StatusCode != 401 || !strings.Contains(body, `<form method="post" action="/.coppice/sign-in">`) || !strings.Contains(body, `name="to" value="/a?b=c&amp;d"`) {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, body = h.signIn(b, at, "bob-key", "/a"); resp.StatusCode != 401 || !strings.Contains(body, "no key or token that may visit") || len(resp.Cookies()) != 0 {
		t.Errorf("bob: %s %s", resp.Status, body)
	}
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for to, want := range map[string]string{
		"/a?b=c": "/a?b=c", "": "/", "a": "/", "https://evil.example/": "/", "//evil.example": "/", "///evil.example": "/",
		`/\evil.example`: "/%5Cevil.example", "/\tx": "/", "javascript:x": "/",
	} {
		if resp, _ = h.signIn(b, at, " alice-key\n", to); resp.StatusCode != 303 || resp.Header.Get("Location") != want {
			t.Errorf("to %q: %s %q", to, resp.Status, resp.Header.Get("Location"))
		}
	}
	cookies := resp.Cookies()
	if len(cookies) != 1 {
		t.Fatal(cookies)
	}
	c := cookies[0]
	if c.Name != cookieName || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || c.Path != "/" || c.MaxAge <= 0 || strings.Contains(c.Value, "key") {
		t.Errorf("the cookie is %v", c)
	}
	// The program has its own secrets, and none of ours.
	for _, headers := range [][]string{nil, {"Cookie: its=own"}, {"Authorization: Bearer its-own"}, {"Authorization: Bearer alice-key"}} {
		want := `authorization [] cookies []`
		if headers != nil && headers[0] != "Authorization: Bearer alice-key" {
			name, value, _ := strings.Cut(headers[0], ": ")
			want = map[string]string{
				"Cookie":        fmt.Sprintf("authorization [] cookies [%q]", value),
				"Authorization": fmt.Sprintf("authorization [%q] cookies []", value),
			}[name]
		}
		if resp, body := h.visit(b, "GET", at, headers...); resp.StatusCode != 200 || body != want {
			t.Errorf("%q: %s %s, want %s", headers, resp.Status, body, want)
		}
	}
	// Who opens the VM to all leaves no secret to it.
	h.vms.setPrivate(id, false)
	if _, body := h.visit(b, "GET", at); body != `authorization [] cookies []` {
		t.Errorf("public: %s", body)
	}
	if resp, _ := h.signIn(b, at, "alice-key", "/late"); resp.StatusCode != 303 || resp.Header.Get("Location") != "/late" || len(resp.Cookies()) != 0 {
		t.Errorf("signing in to a public VM: %s %v", resp.Status, resp.Header)
	}
	h.vms.setPrivate(id, true)
	h.access.revoke("alice-key")
	if resp, _ := h.visit(b, "GET", at); resp.StatusCode != 401 {
		t.Errorf("when the key is revoked: %s", resp.Status)
	}
}

// A session is of one host name, for a time, and can be made by nobody else.
func TestSessions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	s, err := OpenSessions(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenSessions(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenSessions(file + "2")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	value := s.seal("secret", "a.example", now.Add(time.Minute))
	if secret, ok := again.unseal(value, "a.example", now); secret != "secret" || !ok {
		t.Errorf("%q, %v", secret, ok)
	}
	for what, ok := range map[string]bool{
		"another host":   opens(again, value, "b.example", now),
		"too late":       opens(again, value, "a.example", now.Add(time.Minute)),
		"another's key":  opens(other, value, "a.example", now),
		"a changed one":  opens(s, value[:len(value)-2]+"AA", "a.example", now),
		"a short one":    opens(s, "AAAA", "a.example", now),
		"not even coded": opens(s, "!", "a.example", now),
	} {
		if ok {
			t.Errorf("%s is good", what)
		}
	}
}

func opens(s *Sessions, value, host string, now time.Time) bool {
	_, ok := s.unseal(value, host, now)
	return ok
}

// What another page has a browser do is not done for who has signed in, but for
// links that are followed; to browsers all VMs of a host are one site.
func TestVisitsFromElsewhere(t *testing.T) {
	h := newHarness(t)
	_, at := h.servePrivate()
	b := browser(t, h.client)
	h.signIn(b, at, "alice-key", "/")
	const own, sibling = "Origin: ", "Origin: http://80-0123456789abcdefghij.vm.localhost"
	for _, c := range []struct {
		method  string
		headers []string
		status  int
	}{
		{"GET", nil, 200},
		{"POST", []string{own + at}, 200},
		{"POST", []string{own + at, "Sec-Fetch-Site: same-origin"}, 200},
		{"GET", []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},
		{"GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},

		{"GET", []string{sibling}, 401},
		{"POST", []string{sibling}, 401},
		{"POST", []string{"Origin: null"}, 401},
		{"GET", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, 401},
		{"GET", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 401},
		{"POST", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 401},
		{"GET", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: websocket", own + at}, 401},
	} {
		if resp, body := h.visit(b, c.method, at, c.headers...); resp.StatusCode != c.status {
			t.Errorf("%s %q: %s %s", c.method, c.headers, resp.Status, body)
		}
	}
	if resp, body := h.visit(h.client, "POST", at+signInPath, sibling); resp.StatusCode != 403 || resp.Header.Get(headerError) != "FORBIDDEN" {
		t.Errorf("signing in from elsewhere: %s %s", resp.Status, body)
	}
}

// A visit ends with what was shown for it, whatever it waits for.
func TestVisitIsRevoked(t *testing.T) {
	h := newHarness(t)
	begun := make(chan struct{}, 1)
	id, at := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
	})
	h.vms.setPrivate(id, true)
	h.access.tokens = map[string]coppice.VMID{"stream": id, "waking": id}
	ask := func(secret string) <-chan error {
		req, _ := http.NewRequest("GET", at, nil)
		req.Header.Set("Authorization", "Bearer "+secret)
		ended := make(chan error, 1)
		go func() {
			resp, err := h.client.Do(req)
			if err == nil {
				defer resp.Body.Close()
				if _, err = io.Copy(io.Discard, resp.Body); err == nil {
					err = fmt.Errorf("answered %s", resp.Status)
				}
			}
			ended <- err
		}()
		return ended
	}
	stream := ask("stream")
	<-begun
	h.access.revoke("stream")
	if err := <-stream; err == nil || strings.HasPrefix(err.Error(), "answered") {
		t.Errorf("a stream ends with %v", err)
	}
	h.vms.waking = make(chan struct{}) // which nobody sends on
	h.vms.set(id, coppice.Suspended)
	waits := ask("waking")
	h.access.await(t, "waking")
	h.access.revoke("waking")
	if err := <-waits; err == nil || err.Error() != "answered 401 Unauthorized" {
		t.Errorf("who waits for a VM to wake is told %v", err)
	}
}

// A VM that becomes private has done with those who were let in because it was
// not, whether they are being answered or wait; others go on.
func TestExpel(t *testing.T) {
	h := newHarness(t)
	begun := make(chan struct{})
	id, at := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
	})
	ask := func(headers ...string) <-chan string {
		outcome := make(chan string, 1)
		go func() {
			req, _ := http.NewRequest("GET", at, nil)
			req.Header.Set("Authorization", strings.Join(headers, ""))
			resp, err := h.client.Do(req)
			if err == nil {
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if err != nil {
				outcome <- "cut off"
				return
			}
			outcome <- resp.Status
		}()
		return outcome
	}
	expel := func() {
		h.vms.setPrivate(id, true)
		h.server.Expel(id)
	}
	public := ask()
	<-begun
	h.vms.setPrivate(id, true)
	private := ask("Bearer alice-key")
	<-begun
	h.vms.setPrivate(id, false)
	expel()
	if got := <-public; got != "cut off" {
		t.Errorf("who was let in before: %s", got)
	}
	h.vms.setPrivate(id, false)
	h.vms.waking = make(chan struct{})
	h.vms.set(id, coppice.Suspended)
	waits := ask()
	h.vms.await(t, "waiting", h.vms.waits, id, func(n int) bool { return n == 1 })
	expel()
	if got := <-waits; got != "401 Unauthorized" {
		t.Errorf("who waits: %s", got)
	}
	// One that comes just before, and is noted just after.
	h.vms.setPrivate(id, false)
	late := ask()
	h.vms.await(t, "waiting", h.vms.waits, id, func(n int) bool { return n == 1 })
	h.vms.setPrivate(id, true)
	h.vms.waking <- struct{}{}
	if got := <-late; got != "401 Unauthorized" {
		t.Errorf("who came meanwhile: %s", got)
	}
	select {
	case got := <-private:
		t.Errorf("who shows a key: %s", got)
	default:
	}
	h.access.revoke("alice-key")
	if got := <-private; got != "cut off" {
		t.Errorf("who has a key no more: %s", got)
	}
	h.vms.await(t, "uses", h.vms.uses, id, func(n int) bool { return n == 0 })
}

// Over TLS the cookie is one that no other host can set.
func TestSignInByTLS(t *testing.T) {
	h := newHarness(t)
	ca, err := OpenCA(filepath.Join(t.TempDir(), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	_, at := h.servePrivate()
	at = strings.Replace(at, "http:", "https:", 1)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca.PEM()))
	b := browser(t, trusting(t, roots, h.secure(h.server.config.Directory.Signed(ca))))
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, _ := h.signIn(b, at, "alice-key", "/")
	if c := resp.Cookies(); len(c) != 1 || c[0].Name != secureCookieName || !c[0].Secure || c[0].Domain != "" || c[0].Path != "/" {
		t.Errorf("cookies %v", c)
	}
	if resp, body := h.visit(b, "GET", at); resp.StatusCode != 200 || body != `authorization [] cookies []` {
		t.Errorf("%s %s", resp.Status, body)
	}
}

func TestDropSessions(t *testing.T) {
	h := http.Header{"Cookie": {"coppice-visit=x; a=b;c = d", "__Host-coppice-visit=y", "e=f; coppice-visit=z; xcoppice-visit=1"}}
	dropSessions(h)
	if got := fmt.Sprintf("%q", h["Cookie"]); got != `["a=b;c = d" "e=f; xcoppice-visit=1"]` {
		t.Error(got)
	}
	h = http.Header{"Cookie": {"coppice-visit=x"}}
	if dropSessions(h); len(h) != 0 {
		t.Error(h)
	}
}

// Whatever the page is made to send, its visitor stays on this host.
func FuzzReturnTo(f *testing.F) {
	for _, to := range []string{"/a?b=c#d", "//evil.example", "///evil.example", `/\evil.example`, "https:evil.example", "/\t/evil.example", "/%2f/evil.example", "%2f"} {
		f.Add(to)
	}
	f.Fuzz(func(t *testing.T, to string) {
		r, err := http.NewRequest("POST", "http://host.example"+signInPath, strings.NewReader(url.Values{"to": {to}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		got := returnTo(r)
		at, err := r.URL.Parse(got)
		// Browsers take a backslash before the query for a slash, and leave out tabs and line ends.
		path, _, _ := strings.Cut(got, "?")
		if err != nil || at.Host != "host.example" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.Contains(path, `\`) || strings.ContainsAny(got, "\t\r\n") {
			t.Errorf("%q leads to %q: %v", to, got, err)
		}
	})
}
