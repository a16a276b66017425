package ingress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// secure has the harness's VMs served by HTTPS too, with certificates as config
// has them, and returns the address.
func (h *harness) secure(config *tls.Config) string {
	h.t.Helper()
	secured := h.server.config
	secured.TLS = config
	server := New(secured)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(l) }()
	h.t.Cleanup(func() {
		server.Shutdown(context.Background())
		if err := <-served; err != nil {
			h.t.Error(err)
		}
	})
	return l.Addr().String()
}

// trusting returns a client that finds every name at an address, and trusts roots.
func trusting(t *testing.T, roots *x509.CertPool, address string) *http.Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// mapName has a name of alice's lead to a port of a VM.
func (h *harness) mapName(name string, id coppice.VMID, port uint16) {
	h.t.Helper()
	err := h.names.InsertAccount(h.t.Context(), coppice.Account{ID: "alice", CreatedAt: time.Now()})
	if err == nil {
		_, err = h.server.config.Directory.Map(h.t.Context(), "alice", name, id, port)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// Whoever trusts the host's authority reaches its names by HTTPS, also after the
// daemon was started anew. Other names have no certificate.
func TestOwnCA(t *testing.T) {
	h := newHarness(t)
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto")) })
	h.mapName("app.example.com", id, 3000)
	file := filepath.Join(t.TempDir(), "ca.pem")
	roots := x509.NewCertPool()
	for i := range 2 {
		ca, err := OpenCA(file)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			roots.AppendCertsFromPEM([]byte(ca.PEM()))
		}
		client := trusting(t, roots, h.secure(h.server.config.Directory.Signed(ca)))
		for _, url := range []string{strings.Replace(url, "http:", "https:", 1), "https://app.example.com"} {
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.ProtoMajor != 2 || string(body) != "https" {
				t.Errorf("%s: %s %s %q", url, resp.Proto, resp.Status, body)
			}
		}
		for _, name := range []string{"other.example.com", "a.b.vm.localhost", "x_y.vm.localhost"} {
			if resp, err := client.Get("https://" + name); err == nil {
				t.Errorf("%s has a certificate: %s", name, resp.Status)
			}
		}
		if n := len(ca.leaves); n != 2 {
			t.Errorf("%d certificates for a domain and a name", n)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// An old certificate is replaced before it is over.
func TestCARenews(t *testing.T) {
	ca, err := OpenCA(filepath.Join(t.TempDir(), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := ca.certificate("a.example")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := ca.certificate("a.example"); again != first {
		t.Error("it makes one for every connection")
	}
	first.Leaf.NotAfter = time.Now().Add(leafRenew - time.Minute)
	if next, err := ca.certificate("a.example"); err != nil || next == first {
		t.Errorf("an old one stays: %v", err)
	}
}

func TestCARefusesNonsense(t *testing.T) {
	for _, content := range []string{"", "nonsense"} {
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenCA(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v", content, err)
		}
	}
}
