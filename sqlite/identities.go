package sqlite

import (
	"context"
	"fmt"

	"github.com/coppice-vm/coppice"
)

var identities = &table[coppice.Identity]{
	name:    "identities",
	noun:    "identity",
	missing: coppice.ErrNoIdentity,
	orphan:  coppice.ErrNoAccount,
	columns: []string{"id", "account", "created_at"},
	fields: func(i *coppice.Identity) []any {
		return []any{&i.ID, &i.Account, (*instant)(&i.CreatedAt)}
	},
}

// InsertIdentity implements [coppice.Identities].
func (db *DB) InsertIdentity(ctx context.Context, i coppice.Identity) error {
	return identities.insert(ctx, db, i.ID, i)
}

// Identity implements [coppice.Identities].
func (db *DB) Identity(ctx context.Context, id coppice.IdentityID) (coppice.Identity, error) {
	return identities.get(ctx, db.read, id)
}

// Identities implements [coppice.Identities].
func (db *DB) Identities(ctx context.Context, account coppice.AccountID) ([]coppice.Identity, error) {
	return identities.list(ctx, db.read, "WHERE account = ? ORDER BY created_at, id", account)
}

// DeleteIdentity implements [coppice.Identities].
func (db *DB) DeleteIdentity(ctx context.Context, id coppice.IdentityID) error {
	return identities.remove(ctx, db, "WHERE id = ?", id) // its tokens and grants go with it
}

var tokens = &table[coppice.Token]{
	name:    "tokens",
	noun:    "token",
	missing: coppice.ErrNoToken,
	orphan:  coppice.ErrNoIdentity,
	columns: []string{"id", "hash", "identity", "created_at"},
	fields: func(t *coppice.Token) []any {
		return []any{&t.ID, (*hash)(&t.Hash), &t.Identity, (*instant)(&t.CreatedAt)}
	},
}

// InsertToken implements [coppice.Tokens].
func (db *DB) InsertToken(ctx context.Context, t coppice.Token) error {
	return tokens.insert(ctx, db, t.ID, t)
}

// TokenByHash implements [coppice.Tokens].
func (db *DB) TokenByHash(ctx context.Context, h coppice.SecretHash) (coppice.Token, error) {
	t, err := tokens.one(ctx, db.read, "WHERE hash = ?", hash(h))
	if err != nil {
		return t, fmt.Errorf("read token: %w", err)
	}
	return t, nil
}

// Tokens implements [coppice.Tokens].
func (db *DB) Tokens(ctx context.Context, identity coppice.IdentityID) ([]coppice.Token, error) {
	return tokens.list(ctx, db.read, "WHERE identity = ? ORDER BY created_at, id", identity)
}

// DeleteToken implements [coppice.Tokens].
func (db *DB) DeleteToken(ctx context.Context, identity coppice.IdentityID, id coppice.TokenID) error {
	return tokens.remove(ctx, db, "WHERE id = ? AND identity = ?", id, identity)
}

var grants = &table[coppice.Grant]{
	name:    "grants",
	noun:    "grant",
	missing: coppice.ErrNoGrant,
	orphan:  coppice.ErrNoIdentity,
	columns: []string{"id", "identity", "vm", "users", "granted_at", "granted_by"},
	fields: func(g *coppice.Grant) []any {
		return []any{&g.ID, &g.Identity, &g.VM, (*list)(&g.Users), (*instant)(&g.GrantedAt), &g.GrantedBy}
	},
}

const grantOf = "WHERE identity = ? AND vm = ?"

// InsertGrant implements [coppice.Grants].
func (db *DB) InsertGrant(ctx context.Context, g coppice.Grant) error {
	return grants.insert(ctx, db, g.ID, g)
}

// Grant implements [coppice.Grants].
func (db *DB) Grant(ctx context.Context, identity coppice.IdentityID, vm coppice.VMID) (coppice.Grant, error) {
	g, err := grants.one(ctx, db.read, grantOf, identity, vm)
	if err != nil {
		return g, fmt.Errorf("read grant of %q for VM %q: %w", identity, vm, err)
	}
	return g, nil
}

// Grants implements [coppice.Grants].
func (db *DB) Grants(ctx context.Context, identity coppice.IdentityID) ([]coppice.Grant, error) {
	return grants.list(ctx, db.read, "WHERE identity = ? ORDER BY granted_at, id", identity)
}

// UpdateGrant implements [coppice.Grants].
func (db *DB) UpdateGrant(ctx context.Context, identity coppice.IdentityID, vm coppice.VMID, users []string) (coppice.Grant, error) {
	var g coppice.Grant
	tx, err := db.write.BeginTx(ctx, nil)
	if err == nil {
		defer tx.Rollback()
		_, err = tx.ExecContext(ctx, "UPDATE grants SET users = ? "+grantOf, list(users), identity, vm)
	}
	if err == nil {
		g, err = grants.one(ctx, tx, grantOf, identity, vm)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return coppice.Grant{}, fmt.Errorf("update grant of %q for VM %q: %w", identity, vm, err)
	}
	return g, nil
}

// DeleteGrant implements [coppice.Grants].
func (db *DB) DeleteGrant(ctx context.Context, identity coppice.IdentityID, vm coppice.VMID) error {
	return grants.remove(ctx, db, grantOf, identity, vm)
}
