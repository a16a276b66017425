package conformance

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// People are the ports that know who may use the host, and what of it is whose.
type People interface {
	Records
	coppice.Accounts
	coppice.Keys
	coppice.SSHKeys
	coppice.Identities
	coppice.Tokens
	coppice.Grants
}

// at returns an instant that is n seconds after the epoch.
func at(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

func hashOf(secret string) coppice.SecretHash { return sha256.Sum256([]byte(secret)) }

// aKey returns a key with every field set, made n seconds after the epoch.
func aKey(id coppice.KeyID, owner coppice.AccountID, n int) coppice.APIKey {
	return coppice.APIKey{ID: id, Hash: hashOf(string(id)), Account: owner, Name: "of " + string(id), Admin: n%2 == 1, CreatedAt: at(n), UsedAt: at(n + 1)}
}

// TestAccounts examines what remembers accounts and their keys. open returns a
// new, empty one, and cleans up by t.
func TestAccounts(t *testing.T, open func(t *testing.T) People) {
	alice := coppice.Account{ID: "alice", Name: "Alice", CreatedAt: at(2)}
	bob := coppice.Account{ID: "bob", CreatedAt: at(1)}
	// peopled returns one that knows alice and bob.
	peopled := func(t *testing.T) People {
		s := open(t)
		must(t, s.InsertAccount(t.Context(), alice))
		must(t, s.InsertAccount(t.Context(), bob))
		return s
	}

	t.Run("keeps accounts", func(t *testing.T) {
		s := peopled(t)
		got, err := s.Account(t.Context(), "alice")
		must(t, err)
		same(t, "account", alice, got)
		all, err := s.Accounts(t.Context())
		must(t, err)
		same(t, "accounts", []coppice.Account{bob, alice}, all)
	})
	t.Run("keeps keys", func(t *testing.T) {
		s := peopled(t)
		one, two, three := aKey("one", "alice", 3), aKey("two", "alice", 2), aKey("three", "bob", 1)
		for _, k := range []coppice.APIKey{one, two, three} {
			must(t, s.InsertKey(t.Context(), k))
			got, err := s.KeyByHash(t.Context(), k.Hash)
			must(t, err)
			same(t, "key", k, got)
		}
		all, err := s.Keys(t.Context(), "alice")
		must(t, err)
		same(t, "keys", []coppice.APIKey{two, one}, all)

		must(t, s.UseKey(t.Context(), "one", at(9)))
		must(t, s.UseKey(t.Context(), "nobody's", at(9)))
		one.UsedAt = at(9)
		got, err := s.KeyByHash(t.Context(), one.Hash)
		must(t, err)
		same(t, "key", one, got)
	})
	t.Run("forgets keys", func(t *testing.T) {
		s := peopled(t)
		must(t, s.InsertKey(t.Context(), aKey("one", "alice", 1)))
		must(t, s.InsertKey(t.Context(), aKey("two", "alice", 2)))
		says(t, "delete of another's key", s.DeleteKey(t.Context(), "bob", "one"), coppice.ErrNoKey)
		must(t, s.DeleteKey(t.Context(), "alice", "one"))
		says(t, "second delete", s.DeleteKey(t.Context(), "alice", "one"), coppice.ErrNoKey)
		_, err := s.KeyByHash(t.Context(), hashOf("one"))
		says(t, "deleted key", err, coppice.ErrNoKey)
		_, err = s.KeyByHash(t.Context(), hashOf("two"))
		must(t, err)
	})
	t.Run("refuses what is taken", func(t *testing.T) {
		s := peopled(t)
		must(t, s.InsertKey(t.Context(), aKey("one", "alice", 1)))
		says(t, "second insert of an account", s.InsertAccount(t.Context(), alice), coppice.ErrExists)
		sameID, sameHash := aKey("one", "bob", 1), aKey("one", "bob", 1)
		sameID.Hash, sameHash.ID = hashOf("other"), "other"
		says(t, "second insert of an id", s.InsertKey(t.Context(), sameID), coppice.ErrExists)
		says(t, "second insert of a hash", s.InsertKey(t.Context(), sameHash), coppice.ErrExists)
		got, err := s.KeyByHash(t.Context(), hashOf("one"))
		if err != nil || got.Account != "alice" {
			t.Errorf("the key belongs to %q (%v), want its first owner", got.Account, err)
		}
	})
	t.Run("knows what is not there", func(t *testing.T) {
		s := peopled(t)
		_, err := s.Account(t.Context(), "nobody")
		says(t, "unknown account", err, coppice.ErrNoAccount)
		says(t, "delete of an unknown account", s.DeleteAccount(t.Context(), "nobody", at(1)), coppice.ErrNoAccount)
		says(t, "key without an account", s.InsertKey(t.Context(), aKey("one", "nobody", 1)), coppice.ErrNoAccount)
		_, err = s.KeyByHash(t.Context(), hashOf("one"))
		says(t, "unknown hash", err, coppice.ErrNoKey)
		if all, err := s.Keys(t.Context(), "nobody"); err != nil || len(all) != 0 {
			t.Errorf("keys of nobody: %v, %v", all, err)
		}
	})
	t.Run("deletes accounts", func(t *testing.T) {
		s := peopled(t)
		must(t, s.InsertKey(t.Context(), aKey("hers", "alice", 1)))
		must(t, s.InsertKey(t.Context(), aKey("his", "bob", 1)))
		must(t, s.InsertIdentity(t.Context(), coppice.Identity{ID: "i", Account: "alice", CreatedAt: at(1)}))
		must(t, s.InsertToken(t.Context(), aToken("t", "i", 1)))
		must(t, s.InsertGrant(t.Context(), aGrant("g", "i", "vm", 1)))
		must(t, s.SetLimits(t.Context(), "alice", coppice.Limits{VMs: 7}))
		must(t, s.DeleteAccount(t.Context(), "alice", at(5)))

		limits, err := s.Limits(t.Context(), "alice")
		must(t, err)
		same(t, "limits", coppice.DefaultLimits, limits)
		_, err = s.Account(t.Context(), "alice")
		says(t, "deleted account", err, coppice.ErrNoAccount)
		_, err = s.KeyByHash(t.Context(), hashOf("hers"))
		says(t, "its key", err, coppice.ErrNoKey)
		_, err = s.Identity(t.Context(), "i")
		says(t, "its identity", err, coppice.ErrNoIdentity)
		_, err = s.TokenByHash(t.Context(), hashOf("t"))
		says(t, "its identity's token", err, coppice.ErrNoToken)
		_, err = s.Grant(t.Context(), "i", "vm")
		says(t, "its identity's grant", err, coppice.ErrNoGrant)
		all, err := s.Accounts(t.Context())
		must(t, err)
		same(t, "accounts", []coppice.Account{bob}, all)
		_, err = s.KeyByHash(t.Context(), hashOf("his"))
		must(t, err)

		says(t, "second delete", s.DeleteAccount(t.Context(), "alice", at(6)), coppice.ErrNoAccount)
		says(t, "its id again", s.InsertAccount(t.Context(), alice), coppice.ErrExists)
		says(t, "a key for it", s.InsertKey(t.Context(), aKey("new", "alice", 1)), coppice.ErrNoAccount)
		says(t, "an identity for it", s.InsertIdentity(t.Context(), coppice.Identity{ID: "j", Account: "alice", CreatedAt: at(1)}), coppice.ErrNoAccount)
		says(t, "a VM for it", s.InsertVM(t.Context(), aBareVM("late", "alice", at(1))), coppice.ErrNoAccount)
		capture := aCapture("sc-late")
		says(t, "a capture for it", s.InsertCapture(t.Context(), capture), coppice.ErrNoAccount)
		must(t, s.InsertVM(t.Context(), aBareVM("his", "bob", at(1))))
	})
	t.Run("deletes no account that has something", func(t *testing.T) {
		s := peopled(t)
		must(t, s.InsertKey(t.Context(), aKey("hers", "alice", 1)))
		must(t, s.InsertVM(t.Context(), aBareVM("vm", "alice", at(1))))
		says(t, "delete with a VM", s.DeleteAccount(t.Context(), "alice", at(5)), coppice.ErrInUse)
		_, err := s.KeyByHash(t.Context(), hashOf("hers"))
		must(t, err)
		_, err = s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error { vm.DeletedAt = at(2); return nil })
		must(t, err)
		capture := aCapture("sc-one")
		capture.Account, capture.Keep = "alice", true
		must(t, s.InsertCapture(t.Context(), capture))
		says(t, "delete with a snapshot", s.DeleteAccount(t.Context(), "alice", at(5)), coppice.ErrInUse)
		_, err = s.UpdateCapture(t.Context(), "sc-one", func(c *coppice.Capture) error { c.Keep = false; return nil })
		must(t, err)
		must(t, s.DeleteAccount(t.Context(), "alice", at(5)))
	})
	t.Run("refuses nonsense", func(t *testing.T) {
		s := peopled(t)
		ageless, nameless := aKey("ageless", "alice", 1), aKey("", "alice", 1)
		ageless.CreatedAt = time.Time{}
		for what, err := range map[string]error{
			"account without id":            s.InsertAccount(t.Context(), coppice.Account{CreatedAt: epoch}),
			"account without creation time": s.InsertAccount(t.Context(), coppice.Account{ID: "ageless"}),
			"key without creation time":     s.InsertKey(t.Context(), ageless),
			"key without id":                s.InsertKey(t.Context(), nameless),
		} {
			if err == nil {
				t.Errorf("%s was taken", what)
			}
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// says wants err to wrap want.
func says(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// same wants what was inserted to be what is read.
func same[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s as inserted (-) and as read (+):\n%s", what, diff)
	}
}
