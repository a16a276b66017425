package ingress

import (
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/coppice-vm/coppice"
)

// startAuthority runs an authority that asks at these ports, whatever the name,
// and returns its directory, whom to trust to speak with it, and whom to trust
// when it has signed.
func startAuthority(t *testing.T, httpPort, tlsPort int) (url string, speaks, signs *x509.CertPool) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	front := wfe.New(quiet, store, va.New(quiet, httpPort, tlsPort, false, resolver(t), store), authority, nil, false, false, 1, 1)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	speaks, signs = x509.NewCertPool(), x509.NewCertPool()
	speaks.AddCert(server.Certificate())
	signs.AddCert(authority.GetRootCert(0).Cert)
	return server.URL + wfe.DirectoryPath, speaks, signs
}

// resolver answers that every name is this machine.
func resolver(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg)
		answer.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, err := dns.NewRR(q.Question[0].Name + " 60 IN A 127.0.0.1")
			if err != nil {
				t.Error(err)
				return
			}
			answer.Answer = append(answer.Answer, rr)
		}
		w.WriteMsg(answer)
	})
	for _, s := range []*dns.Server{{Listener: l, Handler: handler}, {PacketConn: packets, Handler: handler}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return l.Addr().String()
}

// Names that lead to VMs get certificates that everybody trusts when they are
// asked for, and keep them; other names, and those of VMs that are gone, get none.
func TestACME(t *testing.T) {
	h := newHarness(t)
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "secret") })
	h.mapName("app.example.com", id, 3000)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := ACMEConfig{
		Storage: t.TempDir(), Directory: h.server.config.Directory, Records: h.vms, Log: h.server.config.Log,
		HTTPPort: plain.Addr().(*net.TCPAddr).Port, TLSPort: secure.Addr().(*net.TCPAddr).Port,
	}
	var signs *x509.CertPool
	config.URL, config.Roots, signs = startAuthority(t, config.HTTPPort, config.TLSPort)
	acme := NewACME(config)
	defer acme.Close()
	secured := h.server.config
	secured.ACME = acme
	server := New(secured)
	for serve, l := range map[string]net.Listener{"plain": plain, "secure": secure} {
		go func() {
			if serve == "plain" {
				server.Serve(l)
			} else {
				server.ServeTLS(l)
			}
		}()
	}
	defer server.Shutdown(t.Context())

	client := trusting(t, signs, secure.Addr().String())
	for _, url := range []string{strings.Replace(url, "http:", "https:", 1), "https://app.example.com"} {
		for range 2 {
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || string(body) != "secret" || resp.ProtoMajor != 2 {
				t.Errorf("%s: %s %s %q", url, resp.Proto, resp.Status, body)
			}
			client.CloseIdleConnections()
		}
	}
	gone := h.vms.set("", coppice.Absent)
	for _, name := range []string{"other.example.com", "x.vm.localhost", Target{gone, 80}.Name(domain), Target{coppice.NewVMID(), 80}.Name(domain)} {
		if resp, err := client.Get("https://" + name); err == nil {
			t.Errorf("%s has a certificate: %s", name, resp.Status)
		}
	}
}

// Nobody can have certificates made for all the ports of a VM.
func TestACMEFewPorts(t *testing.T) {
	h := newHarness(t)
	id := h.vms.set("", coppice.Running)
	a := NewACME(ACMEConfig{URL: "https://authority.invalid", Storage: t.TempDir(), Directory: h.server.config.Directory, Records: h.vms, Log: h.server.config.Log})
	defer a.Close()
	for port := range uint16(maxPortsCertified) {
		if err := a.allow(t.Context(), Target{id, port + 1}.Name(domain)); err != nil {
			t.Error(err)
		}
	}
	if err := a.allow(t.Context(), Target{id, 1}.Name(domain)); err != nil {
		t.Errorf("again: %v", err)
	}
	if a.allow(t.Context(), Target{id, 8080}.Name(domain)) == nil {
		t.Error("one more")
	}
}
