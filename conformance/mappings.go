package conformance

import (
	"testing"

	"github.com/coppice-vm/coppice"
)

// Names are [coppice.Mappings], and the accounts that they are of.
type Names interface {
	coppice.Mappings
	coppice.Accounts
}

// TestMappings examines what remembers where host names lead. open returns a
// new, empty one, and cleans up by t.
func TestMappings(t *testing.T, open func(t *testing.T) Names) {
	peopled := func(t *testing.T) Names {
		s := open(t)
		for _, id := range []coppice.AccountID{"alice", "bob"} {
			must(t, s.InsertAccount(t.Context(), coppice.Account{ID: id, CreatedAt: epoch}))
		}
		return s
	}
	web := coppice.Mapping{Name: "web.example", Account: "alice", VM: "one", Port: 80, CreatedAt: at(1)}
	app := coppice.Mapping{Name: "app.example", Account: "alice", VM: "one", Port: 65535, CreatedAt: at(2)}
	his := coppice.Mapping{Name: "his.example", Account: "bob", VM: "two", Port: 1, CreatedAt: at(0)}

	t.Run("keeps mappings", func(t *testing.T) {
		s := peopled(t)
		for _, m := range []coppice.Mapping{web, app, his} {
			must(t, s.PutMapping(t.Context(), m))
			got, err := s.Mapping(t.Context(), m.Name)
			must(t, err)
			same(t, "mapping", m, got)
		}
		all, err := s.Mappings(t.Context(), "alice")
		must(t, err)
		same(t, "mappings", []coppice.Mapping{app, web}, all)
	})
	t.Run("has a name lead elsewhere", func(t *testing.T) {
		s := peopled(t)
		must(t, s.PutMapping(t.Context(), web))
		moved := coppice.Mapping{Name: web.Name, Account: "alice", VM: "three", Port: 81, CreatedAt: at(3)}
		must(t, s.PutMapping(t.Context(), moved))
		got, err := s.Mapping(t.Context(), web.Name)
		must(t, err)
		same(t, "mapping", moved, got)
	})
	t.Run("gives no name to two accounts", func(t *testing.T) {
		s := peopled(t)
		must(t, s.PutMapping(t.Context(), web))
		stolen := coppice.Mapping{Name: web.Name, Account: "bob", VM: "two", Port: 80, CreatedAt: at(3)}
		says(t, "mapping of another's name", s.PutMapping(t.Context(), stolen), coppice.ErrExists)
		says(t, "delete of another's mapping", s.DeleteMapping(t.Context(), "bob", web.Name), coppice.ErrNoMapping)
		got, err := s.Mapping(t.Context(), web.Name)
		must(t, err)
		same(t, "mapping", web, got)
		must(t, s.DeleteMapping(t.Context(), "alice", web.Name))
		must(t, s.PutMapping(t.Context(), stolen)) // it is free
	})
	t.Run("forgets", func(t *testing.T) {
		s := peopled(t)
		must(t, s.PutMapping(t.Context(), web))
		must(t, s.PutMapping(t.Context(), his))
		must(t, s.DeleteMapping(t.Context(), "alice", web.Name))
		says(t, "second delete", s.DeleteMapping(t.Context(), "alice", web.Name), coppice.ErrNoMapping)
		_, err := s.Mapping(t.Context(), web.Name)
		says(t, "deleted mapping", err, coppice.ErrNoMapping)
		must(t, s.DeleteAccount(t.Context(), "bob", at(4)))
		_, err = s.Mapping(t.Context(), his.Name)
		says(t, "mapping of a deleted account", err, coppice.ErrNoMapping)
	})
	t.Run("refuses nonsense", func(t *testing.T) {
		s := peopled(t)
		nobodys := web
		nobodys.Account = "nobody"
		says(t, "mapping without an account", s.PutMapping(t.Context(), nobodys), coppice.ErrNoAccount)
		for what, change := range map[string]func(m *coppice.Mapping){
			"no name": func(m *coppice.Mapping) { m.Name = "" },
			"no VM":   func(m *coppice.Mapping) { m.VM = "" },
			"no port": func(m *coppice.Mapping) { m.Port = 0 },
		} {
			m := web
			change(&m)
			if s.PutMapping(t.Context(), m) == nil {
				t.Errorf("a mapping with %s was taken", what)
			}
		}
	})
}
