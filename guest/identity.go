package guest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// newIdentity returns what the guest is told. The host makes the keys: it is
// faster than an emulated guest, and its randomness is good at any time.
func newIdentity(id coppice.GuestIdentity) (*wire.Identity, error) {
	entropy := make([]byte, 32)
	rand.Read(entropy) // never fails; see crypto/rand
	identity := &wire.Identity{VM: id.VM, Instance: id.Instance, Hostname: id.Hostname, Fresh: id.Fresh, Entropy: entropy}
	if !id.Fresh {
		return identity, nil
	}
	identity.MachineID = machineID(id.VM)
	_, edwards, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	nist, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	for _, key := range []struct {
		name string
		key  crypto.Signer
	}{{"ed25519", edwards}, {"ecdsa", nist}} {
		private, err := ssh.MarshalPrivateKey(key.key, string(id.VM))
		if err != nil {
			return nil, err
		}
		public, err := ssh.NewPublicKey(key.key.Public())
		if err != nil {
			return nil, err
		}
		identity.HostKeys = append(identity.HostKeys, wire.HostKey{
			Type:    key.name,
			Private: pem.EncodeToMemory(private),
			Public:  ssh.MarshalAuthorizedKey(public),
		})
	}
	return identity, nil
}

// machineID derives a VM's machine-id(5), so that it has the same one at every
// start, and no other VM has.
func machineID(vm coppice.VMID) string {
	sum := sha256.Sum256([]byte("coppice machine-id " + vm))
	id := sum[:16]
	id[6] = id[6]&0x0F | 0x40 // in the form of a random UUID, as systemd makes them
	id[8] = id[8]&0x3F | 0x80
	return hex.EncodeToString(id)
}
