package conformance

import (
	"testing"

	"github.com/coppice-vm/coppice"
)

func aToken(id coppice.TokenID, identity coppice.IdentityID, n int) coppice.Token {
	return coppice.Token{ID: id, Hash: hashOf(string(id)), Identity: identity, CreatedAt: at(n)}
}

func aGrant(id coppice.GrantID, identity coppice.IdentityID, vm coppice.VMID, n int) coppice.Grant {
	return coppice.Grant{ID: id, Identity: identity, VM: vm, Users: []string{"bob", "näme with \" and ,"}, GrantedAt: at(n), GrantedBy: "alice"}
}

// TestIdentities examines what remembers identities, their tokens and grants.
// open returns a new, empty one, and cleans up by t.
func TestIdentities(t *testing.T, open func(t *testing.T) People) {
	one := coppice.Identity{ID: "one", Account: "alice", CreatedAt: at(2)}
	two := coppice.Identity{ID: "two", Account: "alice", CreatedAt: at(1)}
	his := coppice.Identity{ID: "his", Account: "bob", CreatedAt: at(0)}
	// peopled returns one that knows these.
	peopled := func(t *testing.T) People {
		s := open(t)
		for _, id := range []coppice.AccountID{"alice", "bob"} {
			must(t, s.InsertAccount(t.Context(), coppice.Account{ID: id, CreatedAt: epoch}))
		}
		for _, i := range []coppice.Identity{one, two, his} {
			must(t, s.InsertIdentity(t.Context(), i))
		}
		return s
	}

	t.Run("keeps identities", func(t *testing.T) {
		s := peopled(t)
		got, err := s.Identity(t.Context(), "one")
		must(t, err)
		same(t, "identity", one, got)
		all, err := s.Identities(t.Context(), "alice")
		must(t, err)
		same(t, "identities", []coppice.Identity{two, one}, all)
	})
	t.Run("keeps tokens", func(t *testing.T) {
		s := peopled(t)
		a, b, c := aToken("a", "one", 2), aToken("b", "one", 1), aToken("c", "two", 0)
		for _, token := range []coppice.Token{a, b, c} {
			must(t, s.InsertToken(t.Context(), token))
			got, err := s.TokenByHash(t.Context(), token.Hash)
			must(t, err)
			same(t, "token", token, got)
		}
		all, err := s.Tokens(t.Context(), "one")
		must(t, err)
		same(t, "tokens", []coppice.Token{b, a}, all)

		says(t, "delete of another's token", s.DeleteToken(t.Context(), "two", "a"), coppice.ErrNoToken)
		must(t, s.DeleteToken(t.Context(), "one", "a"))
		says(t, "second delete", s.DeleteToken(t.Context(), "one", "a"), coppice.ErrNoToken)
		_, err = s.TokenByHash(t.Context(), a.Hash)
		says(t, "deleted token", err, coppice.ErrNoToken)
		_, err = s.TokenByHash(t.Context(), b.Hash)
		must(t, err)
	})
	t.Run("keeps grants", func(t *testing.T) {
		s := peopled(t)
		a, b, c := aGrant("a", "one", "vm", 2), aGrant("b", "one", "other", 1), aGrant("c", "two", "vm", 0)
		b.Users = nil
		for _, g := range []coppice.Grant{a, b, c} {
			must(t, s.InsertGrant(t.Context(), g))
			got, err := s.Grant(t.Context(), g.Identity, g.VM)
			must(t, err)
			same(t, "grant", g, got)
		}
		all, err := s.Grants(t.Context(), "one")
		must(t, err)
		same(t, "grants", []coppice.Grant{b, a}, all)

		for _, users := range [][]string{{"carol"}, nil} {
			a.Users = users
			got, err := s.UpdateGrant(t.Context(), "one", "vm", users)
			must(t, err)
			same(t, "grant", a, got)
			got, err = s.Grant(t.Context(), "one", "vm")
			must(t, err)
			same(t, "grant", a, got)
		}
		must(t, s.DeleteGrant(t.Context(), "one", "vm"))
		says(t, "second delete", s.DeleteGrant(t.Context(), "one", "vm"), coppice.ErrNoGrant)
		_, err = s.Grant(t.Context(), "one", "vm")
		says(t, "deleted grant", err, coppice.ErrNoGrant)
		_, err = s.Grant(t.Context(), "two", "vm")
		must(t, err)
		must(t, s.InsertGrant(t.Context(), a))
	})
	t.Run("refuses what is taken", func(t *testing.T) {
		s := peopled(t)
		must(t, s.InsertToken(t.Context(), aToken("a", "one", 1)))
		must(t, s.InsertGrant(t.Context(), aGrant("a", "one", "vm", 1)))
		says(t, "second insert of an identity", s.InsertIdentity(t.Context(), his), coppice.ErrExists)
		sameHash := aToken("a", "two", 1)
		sameHash.ID = "other"
		says(t, "second insert of a token", s.InsertToken(t.Context(), aToken("a", "two", 1)), coppice.ErrExists)
		says(t, "second insert of a hash", s.InsertToken(t.Context(), sameHash), coppice.ErrExists)
		says(t, "second insert of a grant", s.InsertGrant(t.Context(), aGrant("a", "two", "vm", 1)), coppice.ErrExists)
		says(t, "second grant for a VM", s.InsertGrant(t.Context(), aGrant("b", "one", "vm", 1)), coppice.ErrExists)
	})
	t.Run("knows what is not there", func(t *testing.T) {
		s := peopled(t)
		_, err := s.Identity(t.Context(), "nobody")
		says(t, "unknown identity", err, coppice.ErrNoIdentity)
		says(t, "delete of an unknown identity", s.DeleteIdentity(t.Context(), "nobody"), coppice.ErrNoIdentity)
		says(t, "identity without an account", s.InsertIdentity(t.Context(), coppice.Identity{ID: "x", Account: "nobody", CreatedAt: epoch}), coppice.ErrNoAccount)
		says(t, "token without an identity", s.InsertToken(t.Context(), aToken("a", "nobody", 1)), coppice.ErrNoIdentity)
		says(t, "grant without an identity", s.InsertGrant(t.Context(), aGrant("a", "nobody", "vm", 1)), coppice.ErrNoIdentity)
		_, err = s.TokenByHash(t.Context(), hashOf("a"))
		says(t, "unknown hash", err, coppice.ErrNoToken)
		_, err = s.UpdateGrant(t.Context(), "one", "vm", nil)
		says(t, "update of an unknown grant", err, coppice.ErrNoGrant)
	})
	t.Run("deletes identities", func(t *testing.T) {
		s := peopled(t)
		for _, i := range []coppice.IdentityID{"one", "two"} {
			must(t, s.InsertToken(t.Context(), aToken(coppice.TokenID("t"+i), i, 1)))
			must(t, s.InsertGrant(t.Context(), aGrant(coppice.GrantID("g"+i), i, "vm", 1)))
		}
		must(t, s.DeleteIdentity(t.Context(), "one"))
		says(t, "second delete", s.DeleteIdentity(t.Context(), "one"), coppice.ErrNoIdentity)
		_, err := s.TokenByHash(t.Context(), hashOf("tone"))
		says(t, "its token", err, coppice.ErrNoToken)
		_, err = s.Grant(t.Context(), "one", "vm")
		says(t, "its grant", err, coppice.ErrNoGrant)
		_, err = s.TokenByHash(t.Context(), hashOf("ttwo"))
		must(t, err)
		_, err = s.Grant(t.Context(), "two", "vm")
		must(t, err)
	})
}
