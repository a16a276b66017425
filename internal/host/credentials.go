package host

import (
	"encoding/json"
	"fmt"
	"os"
)

// Credentials are what a client needs to reach the daemon. The file that keeps
// them is the only place where the key's secret is.
type Credentials struct {
	URL string `json:"url"`
	Key string `json:"key"`
}

// ReadCredentials returns the credentials of the data directory. The error
// wraps [io/fs.ErrNotExist] if no daemon has served it yet.
func (d Dir) ReadCredentials() (Credentials, error) {
	b, err := os.ReadFile(d.Credentials())
	if err != nil {
		return Credentials{}, err
	}
	var c Credentials
	if err := json.Unmarshal(b, &c); err != nil {
		return Credentials{}, fmt.Errorf("read %s: %w", d.Credentials(), err)
	}
	return c, nil
}

// WriteCredentials replaces the credentials of the data directory.
func (d Dir) WriteCredentials(c Credentials) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(d.Credentials(), append(b, '\n'))
}
