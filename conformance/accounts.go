package conformance

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// TestAccounts examines a store of accounts. open returns a new, empty one, and cleans up by t.
func TestAccounts(t *testing.T, open func(t *testing.T) coppice.Accounts) {
	alice := coppice.Account{ID: "alice", Name: "Alice", CreatedAt: epoch}
	bob := coppice.Account{ID: "bob", CreatedAt: epoch}
	key := func(secret string, owner coppice.AccountID) coppice.APIKey {
		return coppice.APIKey{Hash: sha256.Sum256([]byte(secret)), Account: owner, Name: secret, CreatedAt: epoch}
	}

	t.Run("keeps keys", func(t *testing.T) {
		s := open(t)
		must(t, s.InsertAccount(t.Context(), alice))
		must(t, s.InsertAccount(t.Context(), bob))
		for _, k := range []coppice.APIKey{key("one", "alice"), key("two", "alice"), key("three", "bob")} {
			must(t, s.InsertKey(t.Context(), k))
			got, err := s.KeyByHash(t.Context(), k.Hash)
			must(t, err)
			if diff := cmp.Diff(k, got); diff != "" {
				t.Errorf("key as inserted (-) and as read (+):\n%s", diff)
			}
		}
	})
	t.Run("refuses what is taken", func(t *testing.T) {
		s := open(t)
		must(t, s.InsertAccount(t.Context(), alice))
		must(t, s.InsertAccount(t.Context(), bob))
		must(t, s.InsertKey(t.Context(), key("one", "alice")))
		if err := s.InsertAccount(t.Context(), alice); !errors.Is(err, coppice.ErrExists) {
			t.Errorf("second insert of an account: %v, want ErrExists", err)
		}
		if err := s.InsertKey(t.Context(), key("one", "bob")); !errors.Is(err, coppice.ErrExists) {
			t.Errorf("second insert of a hash: %v, want ErrExists", err)
		}
		got, err := s.KeyByHash(t.Context(), key("one", "").Hash)
		if err != nil || got.Account != "alice" {
			t.Errorf("the key belongs to %q (%v), want its first owner", got.Account, err)
		}
	})
	t.Run("knows what is not there", func(t *testing.T) {
		s := open(t)
		k := key("one", "nobody")
		if err := s.InsertKey(t.Context(), k); !errors.Is(err, coppice.ErrNoAccount) {
			t.Errorf("key without an account: %v, want ErrNoAccount", err)
		}
		if _, err := s.KeyByHash(t.Context(), k.Hash); !errors.Is(err, coppice.ErrNoKey) {
			t.Errorf("unknown hash: %v, want ErrNoKey", err)
		}
	})
	t.Run("refuses nonsense", func(t *testing.T) {
		s := open(t)
		must(t, s.InsertAccount(t.Context(), alice))
		ageless := key("ageless", "alice")
		ageless.CreatedAt = time.Time{}
		for what, err := range map[string]error{
			"account without id":            s.InsertAccount(t.Context(), coppice.Account{CreatedAt: epoch}),
			"account without creation time": s.InsertAccount(t.Context(), coppice.Account{ID: "ageless"}),
			"key without creation time":     s.InsertKey(t.Context(), ageless),
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
