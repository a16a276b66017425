package coppice

import (
	"strings"
	"time"
)

// A Principal is who makes a request: an account, or an identity of it.
type Principal struct {
	Account AccountID
	// Identity is empty if it is the account itself, by one of its API keys.
	Identity IdentityID
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

// rootUser is who a request acts as that names no user.
const rootUser = "root"

// Allow returns nil if the identity may act as user, and else an error with
// [CodeForbidden]. Empty is root. A name is what it is called by: that a number
// in a list of users means somebody does not allow their name, nor the other
// way round.
func (g *Grant) Allow(user string) error {
	if user == "" {
		user = rootUser
	}
	if g.Users == nil {
		return nil
	}
	for _, u := range g.Users {
		if u == user {
			return nil
		}
	}
	return Errorf(CodeForbidden, "this token may not act as %s in VM %s, only as %s", user, g.VM, strings.Join(g.Users, " or ")).With("vmId", g.VM)
}
