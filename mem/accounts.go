package mem

import (
	"context"
	"fmt"
	"sync"

	"github.com/coppice-vm/coppice"
)

// Accounts is a [coppice.Accounts] that forgets everything with the process.
type Accounts struct {
	mu       sync.Mutex
	accounts map[coppice.AccountID]coppice.Account
	keys     map[coppice.KeyHash]coppice.APIKey
}

// NewAccounts returns a store without accounts.
func NewAccounts() *Accounts {
	return &Accounts{
		accounts: map[coppice.AccountID]coppice.Account{},
		keys:     map[coppice.KeyHash]coppice.APIKey{},
	}
}

// InsertAccount implements [coppice.Accounts].
func (s *Accounts) InsertAccount(ctx context.Context, a coppice.Account) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("insert account %q: %w", a.ID, err)
	}
	if a.ID == "" || a.CreatedAt.IsZero() {
		return fmt.Errorf("insert account %q: no id or no creation time", a.ID)
	}
	if _, taken := s.accounts[a.ID]; taken {
		return fmt.Errorf("insert account %q: %w", a.ID, coppice.ErrExists)
	}
	s.accounts[a.ID] = a
	return nil
}

// InsertKey implements [coppice.Accounts].
func (s *Accounts) InsertKey(ctx context.Context, k coppice.APIKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("insert key %q: %w", k.Name, err)
	}
	if k.CreatedAt.IsZero() {
		return fmt.Errorf("insert key %q: no creation time", k.Name)
	}
	if _, taken := s.keys[k.Hash]; taken {
		return fmt.Errorf("insert key %q: %w", k.Name, coppice.ErrExists)
	}
	if _, ok := s.accounts[k.Account]; !ok {
		return fmt.Errorf("insert key %q of account %q: %w", k.Name, k.Account, coppice.ErrNoAccount)
	}
	s.keys[k.Hash] = k
	return nil
}

// KeyByHash implements [coppice.Accounts].
func (s *Accounts) KeyByHash(ctx context.Context, hash coppice.KeyHash) (coppice.APIKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return coppice.APIKey{}, fmt.Errorf("read key: %w", err)
	}
	k, ok := s.keys[hash]
	if !ok {
		return coppice.APIKey{}, fmt.Errorf("read key: %w", coppice.ErrNoKey)
	}
	return k, nil
}
