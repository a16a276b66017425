package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// SSHKeys is the part of [Access] that has to do with SSH keys.
type SSHKeys interface {
	AddSSHKey(ctx context.Context, who coppice.Principal, line, name string) (coppice.SSHKey, error)
	SSHKeys(ctx context.Context, who coppice.Principal) ([]coppice.SSHKey, error)
	RemoveSSHKey(ctx context.Context, who coppice.Principal, id coppice.KeyID) error
}

type addSSHKeyInput struct {
	Body api.AddSSHKey
}

func (s *Server) addSSHKey(ctx context.Context, who caller, in *addSSHKeyInput) (api.SSHKey, error) {
	key, err := s.config.Access.AddSSHKey(ctx, who, in.Body.PublicKey, in.Body.Name)
	return shapeSSHKey(&key), err
}

func (s *Server) listSSHKeys(ctx context.Context, who caller, _ *struct{}) (api.SSHKeyList, error) {
	keys, err := s.config.Access.SSHKeys(ctx, who)
	list := api.SSHKeyList{Keys: make([]api.SSHKey, len(keys))}
	for i := range keys {
		list.Keys[i] = shapeSSHKey(&keys[i])
	}
	return list, err
}

type sshKeyInput struct {
	KeyID string `path:"key_id"`
}

func (s *Server) removeSSHKey(ctx context.Context, who caller, in *sshKeyInput) (api.Empty, error) {
	return api.Empty{}, s.config.Access.RemoveSSHKey(ctx, who, coppice.KeyID(in.KeyID))
}

func shapeSSHKey(k *coppice.SSHKey) api.SSHKey {
	return api.SSHKey{ID: string(k.ID), Name: k.Name, Fingerprint: k.Fingerprint, PublicKey: k.PublicKey, CreatedAt: k.CreatedAt.UTC()}
}
