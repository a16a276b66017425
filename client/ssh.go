package client

import (
	"context"
	"net/url"

	"github.com/coppice-vm/coppice/api"
)

// SSHGateway says where SSH is served.
func (c *Client) SSHGateway(ctx context.Context) (api.SSHGateway, error) {
	return call[api.SSHGateway](ctx, c, "GET", "/v1/ssh", nil, "")
}

// AddSSHKey lets the bearer of an SSH key log in to the account's VMs.
func (c *Client) AddSSHKey(ctx context.Context, key api.AddSSHKey) (api.SSHKey, error) {
	return call[api.SSHKey](ctx, c, "POST", "/v1/ssh-keys", key, "")
}

// SSHKeys lists the account's SSH keys, oldest first.
func (c *Client) SSHKeys(ctx context.Context) (api.SSHKeyList, error) {
	return call[api.SSHKeyList](ctx, c, "GET", "/v1/ssh-keys", nil, "")
}

// RemoveSSHKey removes an SSH key and ends what it let in.
func (c *Client) RemoveSSHKey(ctx context.Context, id string) error {
	_, err := call[api.Empty](ctx, c, "DELETE", "/v1/ssh-keys/"+url.PathEscape(id), nil, "")
	return err
}
