package ingress

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/host"
)

const (
	caLife = 10 * 365 * 24 * time.Hour
	// leafLife is less than what browsers take at most, leafRenew how long before
	// its end a certificate is replaced.
	leafLife  = 90 * 24 * time.Hour
	leafRenew = 30 * 24 * time.Hour
	clockSkew = time.Hour // of clients
)

// A CA is an authority of this host's own, which signs certificates for its
// names as they are asked for. Nobody trusts it who was not told to.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// OpenCA returns the authority whose key and certificate are in a file, which is
// made, readable by its owner only, if it is not there.
func OpenCA(file string) (*CA, error) {
	b, err := host.ReadOrMake(file, newCA)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	pair, err := tls.X509KeyPair(b, b)
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", file, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("certificate authority %s: that is not one of coppice's", file)
	}
	return &CA{cert: pair.Leaf, key: key, leaves: map[string]*tls.Certificate{}}, nil
}

// PEM is the authority's certificate, for those who are to trust it.
func (ca *CA) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))
}

// certificate returns one that is valid for a name now.
func (ca *CA) certificate(name string) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if leaf := ca.leaves[name]; leaf != nil && time.Until(leaf.Leaf.NotAfter) > leafRenew {
		return leaf, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate(name, leafLife)
	template.DNSNames = []string{name}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca.leaves[name] = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return ca.leaves[name], nil
}

// newCA returns a new authority's key and certificate as PEM.
func newCA() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	template := certificate("coppice on "+name, caLife)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = errors.Join(
		pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert}),
	)
	return out.Bytes(), err
}

// certificate is what all certificates have in common.
func certificate(name string, life time.Duration) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // never fails; see crypto/rand
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name[:min(len(name), 64)]}, // X.509 has no longer ones
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(life),
	}
}

// certified returns the name that a certificate for name is to have: all VMs of
// the host share one. An error says that the host has no such name.
func (d *Directory) certified(ctx context.Context, name string) (string, error) {
	if label, ok := strings.CutSuffix(name, "."+d.Domain); ok && !strings.Contains(label, ".") && coppice.ValidHostName(name) {
		return "*." + d.Domain, nil
	}
	_, err := d.find(ctx, name)
	return name, err
}

// Signed returns a TLS configuration for the directory's names and no others,
// whose certificates a CA signs.
func (d *Directory) Signed(ca *CA) *tls.Config {
	return &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name, err := d.certified(hello.Context(), hostName(hello.ServerName))
		if err != nil {
			return nil, err
		}
		return ca.certificate(name)
	}}
}
