package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"github.com/coppice-vm/coppice"
)

// What secrets begin with, so that people and scanners know one when they see it.
const (
	keyPrefix   = "cpk_"
	tokenPrefix = "cpt_"
)

// newSecret returns a secret with 256 random bits, and what is kept of it.
func newSecret(prefix string) (string, coppice.SecretHash) {
	var b [32]byte
	rand.Read(b[:]) // never fails; see crypto/rand
	secret := prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return secret, hash(secret)
}

func hash(secret string) coppice.SecretHash { return sha256.Sum256([]byte(secret)) }
