package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// Secrets of everybody who may try, with the headers that carry them.
var (
	nothing    = []string{"Authorization:"}
	wrong      = []string{"Authorization: Bearer wrong"}
	outdated   = []string{"Authorization: Bearer carol-key"}
	wrongToken = []string{"Authorization:", api.HeaderAccessToken + ": wrong"}
	keyAsToken = []string{"Authorization:", api.HeaderAccessToken + ": alice-key"}
	tokenAsKey = []string{"Authorization: Bearer granted"}
	owning     = []string{"Authorization: Bearer alice-key"}
	others     = []string{"Authorization: Bearer bob-key"}
	ungranted  = []string{"Authorization:", api.HeaderAccessToken + ": ungranted"}
	granted    = []string{"Authorization:", api.HeaderAccessToken + ": granted"}
	stray      = []string{"Authorization:", api.HeaderAccessToken + ": stray"}
)

// newVisitors returns a harness that knows the secrets above, and a function
// that makes a VM of alice's with the grants that they have.
func newVisitors(t *testing.T) (h *harness, vm func() string) {
	h = newHarness(t)
	return h, func() string {
		h.people.identity(alice, "granted")
		h.people.identity(alice, "ungranted")
		h.people.identity(bob, "stray") // has grants that its account could not give
		id := h.vms.add(coppice.VM{})
		h.people.grant("granted", id, "bob")
		h.people.grant("stray", id)
		h.people.grant("ungranted", coppice.NewVMID())
		return string(id)
	}
}

// Every route says whom it is for, and is for nobody else.
func TestEveryRouteSaysWhoMayCallIt(t *testing.T) {
	h, vm := newVisitors(t)
	for _, rt := range h.server.routes() {
		visit := func(secret []string, user string) (status int, code string) {
			t.Helper()
			return h.visit(rt, vm(), user, secret)
		}
		want := func(who string, secret []string, user string, status int, code string) {
			t.Helper()
			if s, c := visit(secret, user); s != status || c != code {
				t.Errorf("%s %s, %s: %d %s, want %d %s", rt.method, rt.path, who, s, c, status, code)
			}
		}
		lets := func(who string, secret []string, user string) {
			t.Helper()
			if s, c := visit(secret, user); s == 401 || s == 403 || s == 404 && c == "VM_NOT_FOUND" {
				t.Errorf("%s %s, %s: %d %s, and should be let in", rt.method, rt.path, who, s, c)
			}
		}
		if rt.who == anyone {
			lets("without a secret", nothing, "")
			continue
		}
		for _, c := range []struct {
			who    string
			secret []string
		}{
			{"without a secret", nothing}, {"with a wrong key", wrong}, {"with a revoked key", outdated}, {"with a wrong token", wrongToken},
			{"with a key as a token", keyAsToken}, {"with a token as a key", tokenAsKey},
		} {
			want(c.who, c.secret, "", 401, "UNAUTHORIZED_ERROR")
		}
		lets("the owner", owning, "")
		switch rt.who {
		case holder:
			lets("an identity", ungranted, "")
		case owner:
			for _, token := range [][]string{ungranted, granted, stray} {
				want("an identity", token, "bob", 403, "FORBIDDEN")
			}
			switch {
			case rt.id == "":
			case rt.id == "grantVM": // looks at the VM first
				want("another account", others, "", 404, "VM_NOT_FOUND")
			case strings.Contains(rt.path, "{identity}"):
				want("another account", others, "", 404, "IDENTITY_NOT_FOUND")
			case strings.Contains(rt.path, "{vm_id}"):
				want("another account", others, "", 404, "VM_NOT_FOUND")
			}
		case admin:
			want("another account", others, "", 403, "FORBIDDEN")
			want("an identity", granted, "bob", 403, "FORBIDDEN")
		case guestUser:
			want("another account", others, "", 404, "VM_NOT_FOUND")
			want("an identity without a grant", ungranted, "bob", 404, "VM_NOT_FOUND")
			want("an identity of another account", stray, "bob", 404, "VM_NOT_FOUND")
			lets("an identity with a grant, as the user granted", granted, "bob")
			want("an identity with a grant, as root", granted, "root", 403, "FORBIDDEN")
			want("an identity with a grant, as root's number", granted, "0", 403, "FORBIDDEN")
			want("an identity with a grant, as nobody in particular", granted, "", 403, "FORBIDDEN")
		default:
			t.Errorf("%s %s does not say whom it is for", rt.method, rt.path)
		}
	}
}

// visits are the requests of routes that need more than their path.
var visits = map[string]string{
	"execAwait": `{"command":"true"}`,
	"writeFile": `{"content":""}`,
}

// visit calls a route as a user of the guest, and returns how it was refused,
// or 200.
func (h *harness) visit(rt route, vm, user string, secret []string) (status int, code string) {
	h.t.Helper()
	switch rt.id {
	case "exec":
		return h.visitExec(vm, user, secret)
	case "openTerminal":
		return h.visitTerminal("/v1/vms/"+vm+"/pty", user, secret)
	case "attachTerminal":
		return h.visitTerminal("/v1/vms/"+vm+"/pty/sessions/some", user, secret)
	}
	if rt.id == "awaitVM" { // would wait
		select {
		case h.vms.exits <- coppice.Exit{Kind: coppice.ExitPowerOff}:
		default:
		}
	}
	method, path := pathOf(rt, vm)
	if rt.id == "readFile" {
		path = strings.TrimSuffix(path, "x")
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel() // a stream would not end
	req := h.ask(ctx, method, path, visits[rt.id], secret)
	req.Header.Set(api.HeaderLinuxUser, user)
	resp, err := h.http.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 {
		return 200, ""
	}
	var e api.Error
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		h.t.Errorf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, e.Code
}

// visitExec runs a command over a WebSocket as a user who is named in its first
// message.
func (h *harness) visitExec(vm, user string, secret []string) (status int, code string) {
	h.t.Helper()
	header := h.ask(h.t.Context(), "GET", "/", "", secret).Header
	conn, resp, err := websocket.Dial(h.t.Context(), h.url+"/v1/vms/"+vm+"/exec", &websocket.DialOptions{HTTPClient: h.http, HTTPHeader: header})
	if err != nil {
		var e api.Error
		_ = json.NewDecoder(resp.Body).Decode(&e)
		return resp.StatusCode, e.Code
	}
	conn.CloseNow()
	conn = h.openExec(vm, api.ExecStart{Command: "true", User: user}, secret)
	defer conn.CloseNow()
	var last struct {
		Type string
		Code json.RawMessage
	}
	if err := json.Unmarshal([]byte(next(h.t, conn)), &last); err != nil {
		h.t.Fatal(err)
	}
	if last.Type == api.TypeExit {
		return 200, ""
	}
	code = string(bytes.Trim(last.Code, `"`))
	return statusOf[coppice.Code(code)], code
}

// openExec begins a command over a WebSocket.
func (h *harness) openExec(vm string, start api.ExecStart, secret []string) *websocket.Conn {
	h.t.Helper()
	header := h.ask(h.t.Context(), "GET", "/", "", secret).Header
	conn, _, err := websocket.Dial(h.t.Context(), h.url+"/v1/vms/"+vm+"/exec", &websocket.DialOptions{HTTPClient: h.http, HTTPHeader: header})
	if err == nil {
		err = wsjson.Write(h.t.Context(), conn, start)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return conn
}

// next returns the next message from a server.
func next(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, msg, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(msg)
}

// visitTerminal opens a terminal as a user, or attaches to one.
func (h *harness) visitTerminal(path, user string, secret []string) (status int, code string) {
	h.t.Helper()
	header := h.ask(h.t.Context(), "GET", "/", "", secret).Header
	header.Set(api.HeaderLinuxUser, user)
	conn, resp, err := websocket.Dial(h.t.Context(), h.url+path, &websocket.DialOptions{HTTPClient: h.http, HTTPHeader: header})
	if err != nil {
		var e api.Error
		_ = json.NewDecoder(resp.Body).Decode(&e)
		return resp.StatusCode, e.Code
	}
	conn.CloseNow()
	return 200, ""
}

// A route that does not say whom it is for is for nobody, whatever they show.
func TestForgottenRoute(t *testing.T) {
	h, _ := newVisitors(t)
	h.server.offer(route{method: "GET", path: "/v1/forgotten", bind: plain(func(http.ResponseWriter, *http.Request, caller) error {
		t.Error("somebody was let in")
		return nil
	}, nil)})
	for _, secret := range [][]string{nothing, wrong, owning, granted} {
		if a := h.do("GET", "/v1/forgotten", "", secret...); a.status != 403 || a.code() != "FORBIDDEN" {
			t.Errorf("%q: %d %s", secret, a.status, a.body)
		}
	}
}

// An identity is told the same of a VM that it has no grant for and of one that
// was never there.
func TestGrantsSayNothingOfOtherVMs(t *testing.T) {
	h, vm := newVisitors(t)
	there, unknown := vm(), string(coppice.NewVMID())
	path := func(id string) string { return "/v1/vms/" + id + "/exec-await" }
	a := h.do("POST", path(there), `{"command":"true"}`, ungranted...)
	b := h.do("POST", path(unknown), `{"command":"true"}`, ungranted...)
	c := h.do("POST", path(unknown), `{"command":"true"}`)
	if a.status != 404 || strings.ReplaceAll(a.body, there, unknown) != b.body || b.body != c.body {
		t.Errorf("%d\n%s%s%s", a.status, a.body, b.body, c.body)
	}
}

func TestWhoAmI(t *testing.T) {
	h, vm := newVisitors(t)
	vm()
	for _, c := range []struct {
		secret []string
		want   string
	}{
		{owning, `{"accountId":"` + string(alice) + `"}`},
		{granted, `{"accountId":"` + string(alice) + `","identityId":"granted"}`},
		{append([]string{granted[1]}, others...), `{"accountId":"` + string(bob) + `"}`}, // a key counts for more
	} {
		if a := h.do("GET", "/auth/v1/whoami", "", c.secret...); a.status != 200 || strings.TrimSpace(a.body) != c.want {
			t.Errorf("%q: %d %s", c.secret, a.status, a.body)
		}
	}
}

// docs/ACCESS.md says of every route who may call it.
func TestAccessDocumented(t *testing.T) {
	words := map[audience]string{
		anyone: "anyone", holder: "any key or token", owner: "keys of the account", guestUser: "keys, and tokens with a grant for the VM",
		admin: "keys that may manage accounts",
	}
	var table strings.Builder
	for _, rt := range new(Server).routes() {
		if rt.id != "" {
			fmt.Fprintf(&table, "| `%s %s` | %s | %s |\n", rt.method, rt.path, rt.summary, words[rt.who])
		}
	}
	doc, err := os.ReadFile("../docs/ACCESS.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/ACCESS.md lacks this table:\n%s", table.String())
	}
}
