package sqlite_test

import (
	"context"
	"database/sql"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/sqlite"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeForEver(path)
		return
	}
	flag.Set("rapid.checks", "30") // each opens a database; the command line may ask for more
	goleak.VerifyTestMain(m)
}

func TestStore(t *testing.T) {
	conformance.TestStore(t, func(t *testing.T) conformance.Records { return open(t, tempFile(t)) })
}

func TestCaptures(t *testing.T) {
	conformance.TestCaptures(t, func(t *testing.T) conformance.Records { return open(t, tempFile(t)) })
}

func TestQuotas(t *testing.T) {
	conformance.TestQuotas(t, func(t *testing.T) conformance.Records { return open(t, tempFile(t)) })
}

func TestHistory(t *testing.T) {
	conformance.TestHistory(t, func(t *testing.T) conformance.Records { return open(t, tempFile(t)) })
}

func TestAccounts(t *testing.T) {
	conformance.TestAccounts(t, func(t *testing.T) conformance.People { return open(t, tempFile(t)) })
	conformance.TestSSHKeys(t, func(t *testing.T) conformance.People { return open(t, tempFile(t)) })
}

func TestIdentities(t *testing.T) {
	conformance.TestIdentities(t, func(t *testing.T) conformance.People { return open(t, tempFile(t)) })
}

// tempFile returns the name of a file that is not there, with characters that mean something in a URI.
func tempFile(t *testing.T) string {
	return filepath.Join(t.TempDir(), "what? 100% #1.db")
}

func open(t *testing.T, path string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestOpenMakesAPrivateFile(t *testing.T) {
	path := tempFile(t)
	db := open(t, path)
	if err := db.InsertAccount(t.Context(), coppice.Account{ID: "alice", CreatedAt: epoch}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 2 {
		t.Errorf("there is no write-ahead log, only %v", entries)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(entry.Name(), filepath.Base(path)) || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, want 0600 and the database's name", entry.Name(), info.Mode())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	foreign := func(statements string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(statements); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"another application", foreign("PRAGMA application_id = 7; CREATE TABLE vms (id)"), "another application"},
		{"an unmarked database", foreign("CREATE TABLE notes (text)"), "another application"},
		{"a newer version", foreign("PRAGMA application_id = 0x636f7070; PRAGMA user_version = 1000"), "use a newer coppice"},
		{"no database", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("a letter to a friend\n", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a database"},
		{"a directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file.db")
			test.make(t, path)
			before, _ := os.ReadFile(path)
			db, err := sqlite.Open(t.Context(), path)
			if err == nil {
				db.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not say %q of %s", err, test.want, path)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestReopen(t *testing.T) {
	path := tempFile(t)
	want := vm("vm", "alice")
	for i := range 2 {
		func() {
			db, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if i == 0 {
				if err := db.InsertVM(t.Context(), want); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := db.VM(t.Context(), "vm"); err != nil || got != want {
				t.Errorf("opened %d times: %+v, %v", i+1, got, err)
			}
		}()
	}
}

func TestRefusesTimeOutOfRange(t *testing.T) {
	db := open(t, tempFile(t))
	far := vm("far", "alice")
	far.CreatedAt = far.CreatedAt.AddDate(300, 0, 0)
	if err := db.InsertVM(t.Context(), far); err == nil {
		got, _ := db.VM(t.Context(), "far")
		t.Errorf("%v was taken and came back as %v", far.CreatedAt, got.CreatedAt)
	}
}

func TestOpenCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if db, err := sqlite.Open(ctx, tempFile(t)); err == nil {
		db.Close()
		t.Error("it was opened")
	}
}

func TestMappings(t *testing.T) {
	conformance.TestMappings(t, func(t *testing.T) conformance.Names { return open(t, tempFile(t)) })
}
