package ingress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/coppice-vm/coppice"
)

// maxPortsCertified is how many ports of one VM get certificates: an authority
// signs so many for a domain in a week and no more.
const maxPortsCertified = 10

// ACMEConfig is what an [ACME] works with.
type ACMEConfig struct {
	URL   string // the authority's directory
	Email string // that the authority may write to; may be empty
	Roots *x509.CertPool
	// Storage is the directory of what the authority has signed.
	Storage   string
	Directory *Directory
	Records   Records
	// HTTPPort and TLSPort are where the ingress listens. The authority's
	// questions are to arrive there; it asks at 80 and at 443.
	HTTPPort, TLSPort int
	Log               *slog.Logger
}

// An ACME gets certificates from an authority that everybody trusts, for names
// that lead to VMs, when somebody first asks for them, and renews them.
type ACME struct {
	config ACMEConfig
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer

	mu    sync.Mutex
	ports map[coppice.VMID]map[uint16]bool // that have certificates
}

// NewACME returns one that has asked for nothing yet. The caller closes it.
func NewACME(config ACMEConfig) *ACME {
	a := &ACME{config: config, ports: map[coppice.VMID]map[uint16]bool{}}
	log := zap.New(slogCore{config.Log})
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil },
		Logger:           log,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{
		OnDemand: &certmagic.OnDemandConfig{DecisionFunc: a.allow},
		Storage:  &certmagic.FileStorage{Path: config.Storage},
		Logger:   log,
	})
	a.issuer = certmagic.NewACMEIssuer(a.magic, certmagic.ACMEIssuer{
		CA: config.URL, Email: config.Email, Agreed: true, TrustedRoots: config.Roots,
		AltHTTPPort: config.HTTPPort, AltTLSALPNPort: config.TLSPort, Logger: log,
	})
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	return a
}

// Close ends what is done by itself: renewing.
func (a *ACME) Close() { a.cache.Stop() }

// TLS returns a TLS configuration for names that lead to VMs and no others.
func (a *ACME) TLS() *tls.Config { return a.magic.TLSConfig() }

// Answering returns a handler that answers the authority's questions, and leaves
// the rest to next.
func (a *ACME) Answering(next http.Handler) http.Handler {
	return a.issuer.HTTPChallengeHandler(next)
}

// allow returns an error if no certificate is to be asked for, for a name.
func (a *ACME) allow(ctx context.Context, name string) error {
	to, err := a.config.Directory.find(ctx, hostName(name))
	if err != nil {
		return err
	}
	vm, err := a.config.Records.VM(ctx, to.VM)
	if err != nil {
		return err
	}
	if vm.Deleted() {
		return fmt.Errorf("VM %s has been deleted", vm.ID)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	ports := a.ports[vm.ID]
	if ports == nil {
		ports = map[uint16]bool{}
		a.ports[vm.ID] = ports
	}
	if len(ports) >= maxPortsCertified && !ports[to.Port] {
		return fmt.Errorf("%d other ports of VM %s have certificates", len(ports), vm.ID)
	}
	ports[to.Port] = true
	return nil
}
