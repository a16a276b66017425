package access

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/coppice-vm/coppice"
)

const (
	maxUsers      = 100
	maxUserLength = 256 // bytes; Linux itself is content with 32
)

// Grant lets an identity use a VM from the inside, as those of its users, or as
// any if users is nil. That the VM is the account's is for the caller to know.
func (a *Authority) Grant(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, vm coppice.VMID, users []string) (coppice.Grant, error) {
	if err := cmp.Or(a.own(ctx, who, identity), checkUsers(users)); err != nil {
		return coppice.Grant{}, err
	}
	grant := coppice.Grant{
		ID: coppice.NewGrantID(), Identity: identity, VM: vm, Users: users, GrantedAt: time.Now(), GrantedBy: who.Account,
	}
	err := a.store.InsertGrant(ctx, grant)
	if errors.Is(err, coppice.ErrExists) {
		err = coppice.Errorf(coppice.CodePermissionExists, "identity %s has a grant for VM %s already: change that one", identity, vm)
	}
	return grant, missing(err, identity)
}

func checkUsers(users []string) error {
	if users != nil && len(users) == 0 || len(users) > maxUsers {
		return coppice.Errorf(coppice.CodeInvalidRequest, "allowedUsers is null, for every user, or a list of 1 to %d users; not of %d", maxUsers, len(users))
	}
	for _, u := range users {
		odd := func(r rune) bool { return r == ':' || r == '/' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
		if u == "" || len(u) > maxUserLength || strings.ContainsFunc(u, odd) {
			return coppice.Errorf(coppice.CodeInvalidRequest, "%q cannot be the name of a user of a VM", u)
		}
	}
	return nil
}

// Grants lists an identity's grants, oldest first.
func (a *Authority) Grants(ctx context.Context, who coppice.Principal, identity coppice.IdentityID) ([]coppice.Grant, error) {
	if err := a.own(ctx, who, identity); err != nil {
		return nil, err
	}
	return a.store.Grants(ctx, identity)
}

// GrantFor returns an identity's grant for a VM.
func (a *Authority) GrantFor(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, vm coppice.VMID) (coppice.Grant, error) {
	if err := a.own(ctx, who, identity); err != nil {
		return coppice.Grant{}, err
	}
	grant, err := a.store.Grant(ctx, identity, vm)
	return grant, noGrant(err, identity, vm)
}

// ChangeGrant replaces the users of a grant, as [Authority.Grant] has them, and
// ends what the old one let in.
func (a *Authority) ChangeGrant(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, vm coppice.VMID, users []string) (coppice.Grant, error) {
	if err := cmp.Or(a.own(ctx, who, identity), checkUsers(users)); err != nil {
		return coppice.Grant{}, err
	}
	grant, err := a.store.UpdateGrant(ctx, identity, vm, users)
	if err != nil {
		return coppice.Grant{}, noGrant(err, identity, vm)
	}
	a.cutGrant(identity, vm)
	return grant, nil
}

// RevokeGrant takes a grant back and ends what it let in.
func (a *Authority) RevokeGrant(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, vm coppice.VMID) error {
	if err := a.own(ctx, who, identity); err != nil {
		return err
	}
	if err := a.store.DeleteGrant(ctx, identity, vm); err != nil {
		return noGrant(err, identity, vm)
	}
	a.cutGrant(identity, vm)
	return nil
}

func (a *Authority) cutGrant(identity coppice.IdentityID, vm coppice.VMID) {
	a.cut(func(p coppice.Principal) bool { return p.Identity == identity && p.Grant != nil && p.Grant.VM == vm })
}

// noGrant returns err, in a user's words if it says that a grant is not there.
func noGrant(err error, identity coppice.IdentityID, vm coppice.VMID) error {
	if errors.Is(err, coppice.ErrNoGrant) {
		return coppice.Errorf(coppice.CodeVMPermissionNotFound, "identity %s has no grant for VM %s", identity, vm)
	}
	return err
}
