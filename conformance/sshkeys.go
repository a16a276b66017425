package conformance

import (
	"testing"

	"github.com/coppice-vm/coppice"
)

// TestSSHKeys examines what remembers SSH keys. open returns a new, empty one,
// and cleans up by t.
func TestSSHKeys(t *testing.T, open func(t *testing.T) People) {
	aKey := func(id coppice.KeyID, owner coppice.AccountID, n int) coppice.SSHKey {
		return coppice.SSHKey{ID: id, Account: owner, Name: "of " + string(id), Fingerprint: "SHA256:" + string(id), PublicKey: "ssh-ed25519 " + string(id), CreatedAt: at(n)}
	}
	s := open(t)
	must(t, s.InsertAccount(t.Context(), coppice.Account{ID: "alice", CreatedAt: at(1)}))
	must(t, s.InsertAccount(t.Context(), coppice.Account{ID: "bob", CreatedAt: at(1)}))
	one, two, three := aKey("one", "alice", 3), aKey("two", "alice", 2), aKey("three", "bob", 1)
	for _, k := range []coppice.SSHKey{one, two, three} {
		must(t, s.InsertSSHKey(t.Context(), k))
		got, err := s.SSHKeyByFingerprint(t.Context(), k.Fingerprint)
		must(t, err)
		same(t, "key", k, got)
	}
	all, err := s.SSHKeys(t.Context(), "alice")
	must(t, err)
	same(t, "keys", []coppice.SSHKey{two, one}, all)

	sameID, samePrint := aKey("one", "bob", 1), aKey("other", "bob", 1)
	sameID.Fingerprint, samePrint.Fingerprint = "SHA256:other", one.Fingerprint
	says(t, "second insert of an id", s.InsertSSHKey(t.Context(), sameID), coppice.ErrExists)
	says(t, "second insert of a fingerprint", s.InsertSSHKey(t.Context(), samePrint), coppice.ErrExists)
	says(t, "key without an account", s.InsertSSHKey(t.Context(), aKey("four", "nobody", 1)), coppice.ErrNoAccount)

	says(t, "delete of another's key", s.DeleteSSHKey(t.Context(), "bob", "one"), coppice.ErrNoKey)
	must(t, s.DeleteSSHKey(t.Context(), "alice", "one"))
	says(t, "second delete", s.DeleteSSHKey(t.Context(), "alice", "one"), coppice.ErrNoKey)
	_, err = s.SSHKeyByFingerprint(t.Context(), one.Fingerprint)
	says(t, "deleted key", err, coppice.ErrNoKey)

	must(t, s.DeleteAccount(t.Context(), "alice", at(5)))
	_, err = s.SSHKeyByFingerprint(t.Context(), two.Fingerprint)
	says(t, "key of an account that was deleted", err, coppice.ErrNoKey)
	says(t, "key for an account that was deleted", s.InsertSSHKey(t.Context(), one), coppice.ErrNoAccount)
	_, err = s.SSHKeyByFingerprint(t.Context(), three.Fingerprint)
	must(t, err)
}
