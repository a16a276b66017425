package http

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// into reads an answer.
func into[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); a.status != 200 || err != nil {
		t.Fatalf("%d %s %v", a.status, a.body, err)
	}
	return v
}

func TestKeys(t *testing.T) {
	h := newHarness(t)
	made := into[api.CreatedKey](t, h.do("POST", "/v1/keys", `{"name":"laptop","unknown":1}`))
	if made.Name != "laptop" || made.AccountID != string(alice) || made.Admin || !strings.HasPrefix(made.Secret, "cpk_") {
		t.Errorf("%+v", made)
	}
	bearer := "Authorization: Bearer " + made.Secret
	if who := into[api.WhoAmI](t, h.do("GET", "/auth/v1/whoami", "", bearer)); who.AccountID != string(alice) {
		t.Errorf("%+v", who)
	}
	a := h.do("GET", "/v1/keys", "")
	list := into[api.KeyList](t, a)
	if len(list.Keys) != 2 || list.Keys[0].ID != "alice-key" || list.Keys[1].ID != made.ID || list.Keys[1].LastUsedAt == nil || strings.Contains(a.body, "cpk_") {
		t.Errorf("%s", a.body)
	}
	if strings.Contains(h.log.String(), made.Secret) {
		t.Error("the log has a key")
	}

	for _, c := range []struct {
		method, path, body, secret string
		status                     int
		code                       string
	}{
		{"POST", "/v1/keys", `{}`, "alice-key", 400, "INVALID_REQUEST"},
		{"POST", "/v1/keys", ``, "alice-key", 400, "INVALID_REQUEST"},
		{"POST", "/v1/keys", `{"name":"x\ny"}`, "alice-key", 400, "INVALID_REQUEST"},
		{"POST", "/v1/keys", `{"name":"x","admin":true}`, "bob-key", 403, "FORBIDDEN"},
		{"POST", "/v1/keys", `{"name":"x","accountId":"` + string(alice) + `"}`, "bob-key", 404, "NOT_FOUND"},
		{"POST", "/v1/keys", `{"name":"x","accountId":"` + string(bob) + `","admin":null}`, "alice-key", 200, ""},
		{"GET", "/v1/keys?accountId=" + string(alice), "", "bob-key", 404, "NOT_FOUND"},
		{"GET", "/v1/keys?accountId=" + string(bob), "", "alice-key", 200, ""},
		{"GET", "/v1/accounts", "", "bob-key", 403, "FORBIDDEN"},
		{"DELETE", "/v1/keys/alice-key", "", "alice-key", 409, "CONFLICT"},
		{"DELETE", "/v1/keys/nonsense", "", "alice-key", 404, "NOT_FOUND"},
		{"DELETE", "/v1/keys/" + made.ID, "", "bob-key", 404, "NOT_FOUND"},
		{"DELETE", "/v1/keys/" + made.ID, "", "alice-key", 200, ""},
		{"DELETE", "/v1/keys/" + made.ID, "", "alice-key", 404, "NOT_FOUND"},
		{"GET", "/v1/keys", "", made.Secret, 401, "UNAUTHORIZED_ERROR"},
	} {
		if a := h.do(c.method, c.path, c.body, "Authorization: Bearer "+c.secret); a.status != c.status || a.code() != c.code {
			t.Errorf("%s %s %s by %s: %d %s", c.method, c.path, c.body, c.secret, a.status, a.body)
		}
	}
}

func TestAccounts(t *testing.T) {
	h := newHarness(t)
	made := into[api.CreatedAccount](t, h.do("POST", "/v1/accounts", `{"name":"carol"}`))
	list := into[api.AccountList](t, h.do("GET", "/v1/accounts", ""))
	if len(list.Accounts) != 3 || list.Accounts[2] != made.Account || made.Name != "carol" {
		t.Errorf("%+v, %+v", made, list)
	}
	bearer := "Authorization: Bearer " + made.Secret
	if who := into[api.WhoAmI](t, h.do("GET", "/auth/v1/whoami", "", bearer)); who.AccountID != made.ID {
		t.Errorf("%+v", who)
	}
	// It shares nothing with others.
	h.vms.add(coppice.VM{})
	if vms := into[api.VMList](t, h.do("GET", "/v1/vms", "", bearer)); len(vms.VMs) != 0 {
		t.Errorf("%+v", vms)
	}
	if a := h.do("DELETE", "/v1/accounts/"+string(alice), ""); a.status != 409 {
		t.Errorf("the own account: %d %s", a.status, a.body)
	}
	if a := h.do("DELETE", "/v1/accounts/"+made.ID, ""); a.status != 200 || into[api.DeletedAccount](t, a).ID != made.ID {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := h.do("DELETE", "/v1/accounts/"+made.ID, ""); a.status != 404 || a.code() != "NOT_FOUND" {
		t.Errorf("twice: %d %s", a.status, a.body)
	}
	if a := h.do("GET", "/auth/v1/whoami", "", bearer); a.status != 401 {
		t.Errorf("its key: %d %s", a.status, a.body)
	}
}

// Whatever is going on by a key ends with it, and says why where it still can.
func TestRevokedInTheMiddle(t *testing.T) {
	for name, begin := range map[string]func(ctx context.Context, h *harness, c *client.Client, id string, began func()) error{
		"exec": func(ctx context.Context, h *harness, c *client.Client, id string, began func()) error {
			out := writer(func([]byte) { began() })
			_, err := c.Exec(ctx, id, coppice.ExecSpec{Command: "echo; sleep 1000"}, coppice.Stdio{Stdout: out})
			return err
		},
		"watch": func(ctx context.Context, h *harness, c *client.Client, id string, began func()) error {
			return c.Files(id, "").Watch(ctx, func(coppice.FileEvent) { began() })
		},
		"await": func(ctx context.Context, h *harness, c *client.Client, id string, began func()) error {
			go func() {
				<-h.vms.awaiting
				began()
			}()
			_, err := c.Await(ctx, id)
			return err
		},
		"forward": func(ctx context.Context, h *harness, c *client.Client, id string, began func()) error {
			port := echo(t)
			conn, err := c.Dial(ctx, id, "", port)
			if err != nil {
				return err
			}
			defer conn.Close()
			io.WriteString(conn, "hi")
			io.ReadFull(conn, make([]byte, 2))
			began()
			_, err = conn.Read(make([]byte, 1))
			return err
		},
		"upload": func(ctx context.Context, h *harness, c *client.Client, id string, began func()) error {
			content := &halting{began: began, left: ctx.Done()}
			return c.Files(id, "").Write(ctx, "/large", 0o644, content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			id := string(h.vms.add(coppice.VM{}))
			key := into[api.CreatedKey](t, h.do("POST", "/v1/keys", `{"name":"laptop"}`))
			c, err := client.New(h.url, key.Secret)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			began, ended := make(chan struct{}, 10), make(chan error, 1)
			go func() {
				ended <- begin(ctx, h, c, id, func() {
					select {
					case began <- struct{}{}:
					default:
					}
				})
			}()
			<-began
			if a := h.do("DELETE", "/v1/keys/"+key.ID, ""); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			err = <-ended
			switch name {
			case "watch", "upload", "forward": // the stream is cut off
				if err == nil {
					t.Error("it ended as if nothing had happened")
				}
			default:
				if coppice.CodeOf(err) != coppice.CodeUnauthorized {
					t.Errorf("it ended with %v", err)
				}
			}
		})
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// A halting reader has something, and then nothing until the test is over.
type halting struct {
	began func()
	sent  bool
	left  <-chan struct{}
}

func (r *halting) Read(p []byte) (int, error) {
	if !r.sent {
		r.sent = true
		return copy(p, bytes.Repeat([]byte("x"), len(p))), nil
	}
	r.began()
	<-r.left
	return 0, io.ErrUnexpectedEOF
}
