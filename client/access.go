package client

import (
	"context"
	"net/url"

	"github.com/coppice-vm/coppice/api"
)

// CreateKey makes an API key. Its secret is in the answer and nowhere else.
func (c *Client) CreateKey(ctx context.Context, key api.CreateKey) (api.CreatedKey, error) {
	return call[api.CreatedKey](ctx, c, "POST", "/v1/keys", key, "")
}

// Keys lists the API keys of an account, oldest first; empty is the caller's own.
func (c *Client) Keys(ctx context.Context, account string) (api.KeyList, error) {
	return call[api.KeyList](ctx, c, "GET", "/v1/keys?"+ofAccount(account), nil, "")
}

// RevokeKey revokes an API key of an account and ends what it let in.
func (c *Client) RevokeKey(ctx context.Context, account, id string) error {
	_, err := call[api.Empty](ctx, c, "DELETE", "/v1/keys/"+url.PathEscape(id)+"?"+ofAccount(account), nil, "")
	return err
}

func ofAccount(id string) string {
	if id == "" {
		return ""
	}
	return url.Values{"accountId": {id}}.Encode()
}

// CreateAccount makes an account and its first API key, whose secret is in the
// answer and nowhere else.
func (c *Client) CreateAccount(ctx context.Context, name string) (api.CreatedAccount, error) {
	return call[api.CreatedAccount](ctx, c, "POST", "/v1/accounts", api.CreateAccount{Name: name}, "")
}

// Accounts lists the host's accounts, oldest first.
func (c *Client) Accounts(ctx context.Context) (api.AccountList, error) {
	return call[api.AccountList](ctx, c, "GET", "/v1/accounts", nil, "")
}

// DeleteAccount deletes an account that has neither VMs nor snapshots.
func (c *Client) DeleteAccount(ctx context.Context, id string) error {
	_, err := call[api.DeletedAccount](ctx, c, "DELETE", "/v1/accounts/"+url.PathEscape(id), nil, "")
	return err
}

const identities = "/identity/v1/identities"

func identityPath(id, rest string) string { return identities + "/" + url.PathEscape(id) + rest }

// CreateIdentity makes an identity, which may do nothing yet.
func (c *Client) CreateIdentity(ctx context.Context) (api.Identity, error) {
	return call[api.Identity](ctx, c, "POST", identities, nil, "")
}

// Identities lists the account's identities, oldest first.
func (c *Client) Identities(ctx context.Context) (api.IdentityList, error) {
	return call[api.IdentityList](ctx, c, "GET", identities, nil, "")
}

// DeleteIdentity deletes an identity with its tokens and grants, and ends what
// they let in.
func (c *Client) DeleteIdentity(ctx context.Context, id string) error {
	_, err := call[api.Empty](ctx, c, "DELETE", identityPath(id, ""), nil, "")
	return err
}

// CreateToken makes an access token. Its secret is in the answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, identity string) (api.CreatedToken, error) {
	return call[api.CreatedToken](ctx, c, "POST", identityPath(identity, "/tokens"), nil, "")
}

// Tokens lists an identity's access tokens, oldest first.
func (c *Client) Tokens(ctx context.Context, identity string) (api.TokenList, error) {
	return call[api.TokenList](ctx, c, "GET", identityPath(identity, "/tokens"), nil, "")
}

// RevokeToken revokes an access token, by its id, and ends what it let in.
func (c *Client) RevokeToken(ctx context.Context, identity, id string) error {
	_, err := call[api.Empty](ctx, c, "DELETE", identityPath(identity, "/tokens/"+url.PathEscape(id)), nil, "")
	return err
}

// Grant lets an identity use a VM as some of its users, or as any if users is nil.
func (c *Client) Grant(ctx context.Context, identity, vm string, users []string) (api.VMGrant, error) {
	return call[api.VMGrant](ctx, c, "POST", grantPath(identity, vm), api.GrantVM{AllowedUsers: users}, "")
}

// ChangeGrant replaces the users of a grant, and ends what the identity is
// doing in the VM.
func (c *Client) ChangeGrant(ctx context.Context, identity, vm string, users []string) (api.VMGrant, error) {
	return call[api.VMGrant](ctx, c, "PUT", grantPath(identity, vm), api.GrantVM{AllowedUsers: users}, "")
}

// Grants lists what VMs an identity may use, oldest grant first.
func (c *Client) Grants(ctx context.Context, identity string) (api.VMGrantList, error) {
	return call[api.VMGrantList](ctx, c, "GET", grantPath(identity, ""), nil, "")
}

// RevokeGrant takes a VM from an identity, and ends what it is doing there.
func (c *Client) RevokeGrant(ctx context.Context, identity, vm string) error {
	_, err := call[api.Empty](ctx, c, "DELETE", grantPath(identity, vm), nil, "")
	return err
}

// grantPath returns the path of a grant, or of an identity's grants if vm is empty.
func grantPath(identity, vm string) string {
	if vm != "" {
		vm = "/" + url.PathEscape(vm)
	}
	return identityPath(identity, "/permissions/vm") + vm
}
