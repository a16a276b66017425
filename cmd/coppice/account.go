package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/host"
)

// defaultAccount owns what is made with the data directory's key. Its id is
// always the same, so that VMs do not lose their owner with the credentials file.
const defaultAccount coppice.AccountID = "00000000-0000-4000-8000-000000000001"

// ensureCredentials makes the data directory's credentials lead to the API at
// apiURL. A key that the store knows is kept; otherwise there is a new one, for
// the default account.
func ensureCredentials(ctx context.Context, accounts coppice.Accounts, dir host.Dir, apiURL string) error {
	old, err := dir.ReadCredentials()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := false
	if old.Key != "" {
		_, err := accounts.KeyByHash(ctx, host.KeyHash(old.Key))
		if err != nil && !errors.Is(err, coppice.ErrNoKey) {
			return err
		}
		known = err == nil
	}
	if known && old.URL == apiURL {
		return nil
	}
	creds := host.Credentials{URL: apiURL, Key: old.Key}
	if !known {
		if creds.Key, err = newKey(ctx, accounts); err != nil {
			return err
		}
	}
	return dir.WriteCredentials(creds)
}

// newKey adds a key of the default account, which it adds if need be.
func newKey(ctx context.Context, accounts coppice.Accounts) (string, error) {
	now := time.Now()
	err := accounts.InsertAccount(ctx, coppice.Account{ID: defaultAccount, Name: "default", CreatedAt: now})
	if err != nil && !errors.Is(err, coppice.ErrExists) {
		return "", err
	}
	key := host.NewKey()
	return key, accounts.InsertKey(ctx, coppice.APIKey{
		Hash: host.KeyHash(key), Account: defaultAccount, Name: "host", CreatedAt: now,
	})
}

// keys tells whose a secret is.
type keys struct{ coppice.Accounts }

func (k keys) Key(ctx context.Context, secret string) (coppice.Principal, error) {
	key, err := k.KeyByHash(ctx, host.KeyHash(secret))
	return coppice.Principal{Account: key.Account}, err
}

// Token and Grant know nobody: there are no identities yet.
func (k keys) Token(context.Context, string) (coppice.Principal, error) {
	return coppice.Principal{}, coppice.ErrNoToken
}

func (k keys) Grant(context.Context, coppice.IdentityID, coppice.VMID) (coppice.Grant, error) {
	return coppice.Grant{}, coppice.ErrNoGrant
}

// localURL is the URL by which this machine reaches a listener at addr.
func localURL(addr net.Addr) string {
	tcp := addr.(*net.TCPAddr)
	if tcp.IP.IsUnspecified() {
		tcp = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}
	}
	return (&url.URL{Scheme: "http", Host: tcp.String()}).String()
}
