package host

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"
)

// HostKey returns the key that the SSH gateway shows. The error wraps
// [io/fs.ErrNotExist] if [Dir.EnsureHostKey] has not made one yet.
func (d Dir) HostKey() (ssh.Signer, error) {
	b, err := os.ReadFile(d.SSHHostKey())
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.SSHHostKey(), err)
	}
	return key, nil
}

// EnsureHostKey returns the key that the SSH gateway shows, which it makes if
// there is none: clients know the host by it, so it stays.
func (d Dir) EnsureHostKey() (ssh.Signer, error) {
	if _, err := ReadOrMake(d.SSHHostKey(), newHostKey); err != nil {
		return nil, err
	}
	return d.HostKey()
}

func newHostKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "coppice")
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}
