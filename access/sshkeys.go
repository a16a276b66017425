package access

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
)

// ByPublicKey calls do with whom the SSH key of a fingerprint acts for.
// [coppice.ErrNoKey] if that is nobody. That the private half is there is for
// the caller to see. do's context ends, because of [coppice.ErrRevoked], when
// the key is removed.
func (a *Authority) ByPublicKey(ctx context.Context, fingerprint string, do func(context.Context, coppice.Principal)) error {
	return a.admit(ctx, func() (coppice.Principal, error) {
		key, err := a.store.SSHKeyByFingerprint(ctx, fingerprint)
		return coppice.Principal{Account: key.Account, Key: key.ID}, err
	}, do)
}

// AddSSHKey lets the bearer of an SSH key log in to who's VMs. line is the
// public key, as in a file of OpenSSH's; without a name it goes by its comment.
func (a *Authority) AddSSHKey(ctx context.Context, who coppice.Principal, line, name string) (coppice.SSHKey, error) {
	public, comment, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if _, certificate := public.(*ssh.Certificate); err != nil || certificate || strings.TrimSpace(string(rest)) != "" {
		return coppice.SSHKey{}, coppice.Errorf(coppice.CodeInvalidRequest,
			"publicKey is no public key: want one line as in ~/.ssh/id_ed25519.pub").Because(err)
	}
	fingerprint := ssh.FingerprintSHA256(public)
	name = cmp.Or(name, comment, fingerprint)
	if err := checkName(name); err != nil {
		return coppice.SSHKey{}, err
	}
	key := coppice.SSHKey{
		ID: coppice.NewKeyID(), Account: who.Account, Name: name, Fingerprint: fingerprint,
		PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))), CreatedAt: time.Now(),
	}
	err = a.store.InsertSSHKey(ctx, key)
	if errors.Is(err, coppice.ErrExists) {
		err = coppice.Errorf(coppice.CodeConflict, "the key %s is registered already; a key is one account's", fingerprint)
	}
	return key, err
}

// SSHKeys lists who's SSH keys, oldest first.
func (a *Authority) SSHKeys(ctx context.Context, who coppice.Principal) ([]coppice.SSHKey, error) {
	return a.store.SSHKeys(ctx, who.Account)
}

// RemoveSSHKey ends what an SSH key let in and lets nobody in by it any more,
// when it returns.
func (a *Authority) RemoveSSHKey(ctx context.Context, who coppice.Principal, id coppice.KeyID) error {
	err := a.store.DeleteSSHKey(ctx, who.Account, id)
	if errors.Is(err, coppice.ErrNoKey) {
		err = noKey(id)
	}
	if err == nil {
		a.cut(func(p coppice.Principal) bool { return p.Key == id })
	}
	return err
}
