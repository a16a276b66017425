package api

import "time"

// SSHGateway is where SSH is served, and by what key it is known.
type SSHGateway struct {
	Host    string `json:"host" doc:"Empty if it is the API's"`
	Port    int    `json:"port"`
	HostKey string `json:"hostKey" doc:"As in a file of known hosts: type and key"`
}

// An SSHKey is a public key that lets people log in by SSH.
type SSHKey struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Fingerprint string    `json:"fingerprint" doc:"As OpenSSH shows it"`
	PublicKey   string    `json:"publicKey"`
	CreatedAt   time.Time `json:"createdAt"`
}

// AddSSHKey asks for an SSH key to be let in.
type AddSSHKey struct {
	_         struct{} `json:"-" additionalProperties:"true"`
	PublicKey string   `json:"publicKey" doc:"One line, as in ~/.ssh/id_ed25519.pub"`
	Name      string   `json:"name,omitempty" doc:"What the key is called; absent is its comment"`
}

// An SSHKeyList is an account's SSH keys.
type SSHKeyList struct {
	Keys []SSHKey `json:"keys" nullable:"false"`
}
