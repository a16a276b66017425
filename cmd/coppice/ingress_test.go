package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// A VM that is made private by the API is so on the web, at once.
func TestPrivateAtOnce(t *testing.T) {
	credentials := serveTwin(t, t.TempDir())
	c, err := client.New(credentials.URL, credentials.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	vm, err := c.Create(t.Context(), api.CreateVM{})
	if err != nil {
		t.Fatal(err)
	}
	// In the twin the guest is this machine.
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/stream" {
			<-r.Context().Done()
		}
	}))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	at, err := urlOf(t.Context(), c, vm.ID, port)
	if err != nil {
		t.Fatal(err)
	}
	web, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	visitor := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", web.Port()))
	}}}
	visit := func(path, authorization string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", at+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", authorization)
		resp, err := visitor.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	stream := visit("/stream", "")
	if stream.StatusCode != 200 {
		t.Fatal(stream.Status)
	}
	if _, err := c.SetIngress(t.Context(), vm.ID, api.SetIngress{Private: new(true)}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stream.Body); err == nil || strings.Contains(err.Error(), "Timeout") {
		t.Errorf("who was let in before is cut off with %v", err)
	}
	if resp := visit("/", ""); resp.StatusCode != 401 {
		t.Errorf("a stranger: %s", resp.Status)
	}
	if resp := visit("/", "Bearer "+credentials.Key); resp.StatusCode != 200 {
		t.Errorf("the owner: %s", resp.Status)
	}
}
