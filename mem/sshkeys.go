package mem

import (
	"context"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice"
)

// InsertSSHKey implements [coppice.SSHKeys].
func (s *Store) InsertSSHKey(ctx context.Context, k coppice.SSHKey) error {
	return s.locked(ctx, fmt.Sprintf("insert SSH key %q", k.ID), func() error {
		if k.ID == "" || k.CreatedAt.IsZero() {
			return errIncomplete
		}
		for _, other := range s.sshKeys {
			if other.ID == k.ID || other.Fingerprint == k.Fingerprint {
				return coppice.ErrExists
			}
		}
		if _, err := have(s.accounts, k.Account, coppice.ErrNoAccount); err != nil {
			return err
		}
		s.sshKeys[k.ID] = k
		return nil
	})
}

// SSHKeyByFingerprint implements [coppice.SSHKeys].
func (s *Store) SSHKeyByFingerprint(ctx context.Context, fingerprint string) (found coppice.SSHKey, err error) {
	err = s.locked(ctx, "read SSH key", func() error {
		for _, k := range s.sshKeys {
			if k.Fingerprint == fingerprint {
				found = k
				return nil
			}
		}
		return coppice.ErrNoKey
	})
	return found, err
}

// SSHKeys implements [coppice.SSHKeys].
func (s *Store) SSHKeys(ctx context.Context, account coppice.AccountID) (all []coppice.SSHKey, err error) {
	err = s.locked(ctx, "list SSH keys", func() error {
		all = sorted(s.sshKeys, func(k coppice.SSHKey) bool { return k.Account == account }, oldestFirst(func(x coppice.SSHKey) (time.Time, string) { return x.CreatedAt, string(x.ID) }))
		return nil
	})
	return all, err
}

// DeleteSSHKey implements [coppice.SSHKeys].
func (s *Store) DeleteSSHKey(ctx context.Context, account coppice.AccountID, id coppice.KeyID) error {
	return s.locked(ctx, "delete SSH key", func() error {
		if k, ok := s.sshKeys[id]; !ok || k.Account != account {
			return coppice.ErrNoKey
		}
		delete(s.sshKeys, id)
		return nil
	})
}
