package host

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"github.com/coppice-vm/coppice"
)

// Credentials are what a client needs to reach the daemon. The file that keeps
// them is the only place where the key's secret is.
type Credentials struct {
	URL string `json:"url"`
	Key string `json:"key"`
}

// NewKey returns the secret of a new API key: "cpk_" and 256 random bits.
func NewKey() string {
	var b [32]byte
	rand.Read(b[:]) // never fails; see crypto/rand
	return "cpk_" + base64.RawURLEncoding.EncodeToString(b[:])
}

// KeyHash returns what the store keeps of a key.
func KeyHash(key string) coppice.KeyHash { return sha256.Sum256([]byte(key)) }

// ReadCredentials returns the credentials of the data directory. The error
// wraps [io/fs.ErrNotExist] if no daemon has served it yet.
func (d Dir) ReadCredentials() (Credentials, error) {
	b, err := os.ReadFile(d.Credentials())
	if err != nil {
		return Credentials{}, err
	}
	var c Credentials
	if err := json.Unmarshal(b, &c); err != nil {
		return Credentials{}, fmt.Errorf("read %s: %w", d.Credentials(), err)
	}
	return c, nil
}

// WriteCredentials replaces the credentials of the data directory.
func (d Dir) WriteCredentials(c Credentials) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(d.Credentials(), append(b, '\n'))
}
