package coppice

import (
	"context"
	"slices"
	"strings"
	"time"
)

// An Identity is somebody who may use some of an account's VMs from the inside,
// and nothing else.
type Identity struct {
	ID        IdentityID
	Account   AccountID
	CreatedAt time.Time
}

// Identities remembers identities.
type Identities interface {
	// InsertIdentity adds an identity. [ErrExists] if the id is taken,
	// [ErrNoAccount] if the account is not there.
	InsertIdentity(ctx context.Context, i Identity) error
	// Identity returns an identity. [ErrNoIdentity] if there is none.
	Identity(ctx context.Context, id IdentityID) (Identity, error)
	// Identities lists an account's identities, oldest first.
	Identities(ctx context.Context, account AccountID) ([]Identity, error)
	// DeleteIdentity forgets an identity with its tokens and grants.
	// [ErrNoIdentity] if there is none.
	DeleteIdentity(ctx context.Context, id IdentityID) error
}

// A Token lets its bearer act as an identity.
type Token struct {
	ID        TokenID
	Hash      SecretHash
	Identity  IdentityID
	CreatedAt time.Time
}

// Tokens remembers the tokens of identities.
type Tokens interface {
	// InsertToken adds a token. [ErrExists] if the id or the hash is taken,
	// [ErrNoIdentity] if the identity is not there.
	InsertToken(ctx context.Context, t Token) error
	// TokenByHash returns the token with that hash. [ErrNoToken] if there is none.
	TokenByHash(ctx context.Context, hash SecretHash) (Token, error)
	// Tokens lists an identity's tokens, oldest first.
	Tokens(ctx context.Context, identity IdentityID) ([]Token, error)
	// DeleteToken forgets a token of an identity. [ErrNoToken] if it has no such token.
	DeleteToken(ctx context.Context, identity IdentityID, id TokenID) error
}

// A Grant lets an identity use one VM of its account from the inside: run
// commands, read and write files, open terminals.
type Grant struct {
	ID       GrantID
	Identity IdentityID
	VM       VMID
	// Users of the guest that the identity may act as, by the names that it
	// gives; nil is every user.
	Users     []string
	GrantedAt time.Time
	GrantedBy AccountID
}

// Grants remembers what identities may use.
type Grants interface {
	// InsertGrant adds a grant. [ErrExists] if the id is taken or the identity
	// has a grant for the VM, [ErrNoIdentity] if the identity is not there.
	InsertGrant(ctx context.Context, g Grant) error
	// Grant returns an identity's grant for a VM. [ErrNoGrant] if it has none.
	Grant(ctx context.Context, identity IdentityID, vm VMID) (Grant, error)
	// Grants lists an identity's grants, oldest first.
	Grants(ctx context.Context, identity IdentityID) ([]Grant, error)
	// UpdateGrant replaces the users of a grant, and returns it. [ErrNoGrant] if there is none.
	UpdateGrant(ctx context.Context, identity IdentityID, vm VMID, users []string) (Grant, error)
	// DeleteGrant forgets an identity's grant for a VM. [ErrNoGrant] if it has none.
	DeleteGrant(ctx context.Context, identity IdentityID, vm VMID) error
}

// Allow returns nil if the identity may act as user, and else an error with
// [CodeForbidden]. Empty is root. A user goes by the name that was granted: who
// has that number is somebody else, and the other way round.
func (g *Grant) Allow(user string) error {
	if user == "" {
		user = "root"
	}
	if g.Users == nil || slices.Contains(g.Users, user) {
		return nil
	}
	return Errorf(CodeForbidden, "this token may not act as %s in VM %s, only as %s", user, g.VM, strings.Join(g.Users, " or ")).With("vmId", g.VM)
}

// A Principal is who makes a request: an account by one of its keys, or an
// identity of it by one of its tokens.
type Principal struct {
	Account AccountID
	Key     KeyID // empty of an identity
	Admin   bool  // of the host

	Identity IdentityID // empty of an account
	Token    TokenID
	// Grant is what an identity may do in the VM that the request is about. It
	// is nil if the request is not about one.
	Grant *Grant
}
