package sqlite

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// TestMigrate opens files of every version there was, each with the data of
// testdata, and finds the data in today's form.
func TestMigrate(t *testing.T) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for version := 1; version <= len(names); version++ {
		t.Run(fmt.Sprint("from ", version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "coppice.db")
			makeVersion(t, path, names[:version])
			db, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			wantTestdata(t, db)
			wantLimits(t, db, version >= 3)
			if version >= 5 {
				wantPeople(t, db)
			}
			if key, err := db.SSHKeyByFingerprint(t.Context(), "SHA256:print"); (err == nil) != (version >= 8) || err == nil && key.Name != "laptop" {
				t.Errorf("SSH key %+v, %v", key, err)
			}
			if version >= 9 {
				m, err := db.Mapping(t.Context(), "app.example.com")
				if err != nil || m.VM != "vvvvvvvvvvvvvvvvvvvv" || m.Port != 3000 {
					t.Errorf("mapping %+v, %v", m, err)
				}
			}
		})
	}
}

// makeVersion makes a file as coppice left it when it had these migrations.
func makeVersion(t *testing.T, path string, names []string) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("testdata/v%d.sql", len(names)))
	if err != nil {
		t.Fatalf("every version needs data to be migrated from: %v", err)
	}
	db, err := connect(path, 1, map[string][]string{"_txlock": {"immediate"}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for version := 0; version < len(names); {
		if version, err = step(t.Context(), db, names); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec(string(data)); err != nil {
		t.Fatal(err)
	}
}

func wantTestdata(t *testing.T, db *DB) {
	t.Helper()
	created := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	want := coppice.VM{
		ID: "vvvvvvvvvvvvvvvvvvvv", Account: "aaaaaaaa-0000-0000-0000-000000000000", Name: "old friend",
		State: coppice.Running, Verb: coppice.Stop, VerbSince: created.Add(time.Hour), Reason: "because",
		Size:        coppice.Size{VCPUs: 2, MemoryMiB: 1024, DiskMiB: 16384},
		Persistence: coppice.Persistence{Type: coppice.Ephemeral, Priority: 3, DeleteEvent: coppice.OnStop},
		IdleTimeout: 5 * time.Minute, ActivityBytes: 1024, Image: "debian", Base: "sc-bbbbbbbbbbbbbbbbbbbb",
		Snapshot: "sc-ssssssssssssssssssss", Parent: "pppppppppppppppppppp",
		Instance: "iiiiiiiiiiiiiiiiiiii", HostBoot: "boot",
		CreatedAt: created, StartedAt: created.Add(time.Minute), DeletedAt: created.Add(2 * time.Hour),
	}
	if got, err := db.VM(t.Context(), want.ID); err != nil || got != want {
		t.Errorf("VM %+v, %v\nwant %+v", got, err, want)
	}
	capture := coppice.Capture{
		ID: want.Base, Account: want.Account, Name: "old picture", Source: "ssssssssssssssssssss",
		Instance: "jjjjjjjjjjjjjjjjjjjj", Image: "debian", Size: coppice.Size{VCPUs: 1, MemoryMiB: 512, DiskMiB: 8192},
		Live: true, Keep: true, Persistence: coppice.Persistence{Type: coppice.Sticky, Priority: 5},
		CreatedAt: created, DeletedAt: created.Add(time.Hour),
	}
	if got, err := db.Capture(t.Context(), capture.ID); err != nil || got != capture {
		t.Errorf("capture %+v, %v\nwant %+v", got, err, capture)
	}
	hash := coppice.SecretHash([]byte(strings.Repeat("\x5a", 32)))
	key, err := db.KeyByHash(t.Context(), hash)
	// Versions before the fifth gave keys no ids.
	if want := (coppice.APIKey{ID: key.ID, Hash: hash, Account: want.Account, Name: "key", Admin: true, CreatedAt: created}); err != nil || key != want || len(key.ID) != 20 {
		t.Errorf("key %+v, %v\nwant %+v", key, err, want)
	}
	if a, err := db.Account(t.Context(), want.Account); err != nil || a.Name != "default" || !a.CreatedAt.Equal(created) {
		t.Errorf("account %+v, %v", a, err)
	}
}

// wantPeople wants what there is from the fifth version on.
func wantPeople(t *testing.T, db *DB) {
	t.Helper()
	token, err := db.TokenByHash(t.Context(), coppice.SecretHash([]byte(strings.Repeat("\xa5", 32))))
	if err != nil || token.ID != "tttttttttttttttttttt" {
		t.Errorf("token %+v, %v", token, err)
	}
	grant, err := db.Grant(t.Context(), token.Identity, "vvvvvvvvvvvvvvvvvvvv")
	if err != nil || !slices.Equal(grant.Users, []string{"bob"}) {
		t.Errorf("grant %+v, %v", grant, err)
	}
}

// wantLimits checks the limits of testdata, which there may be or not yet.
func wantLimits(t *testing.T, db *DB, set bool) {
	t.Helper()
	want := coppice.DefaultLimits
	if set {
		want = coppice.Limits{
			VMs: 10, Running: 9, Snapshots: 3, PTYs: 2,
			Each: coppice.Size{VCPUs: 8, MemoryMiB: 7168, DiskMiB: 6144},
			Sum:  coppice.Size{VCPUs: 16, MemoryMiB: 16384, DiskMiB: 65536},
		}
	}
	if got, err := db.Limits(t.Context(), "aaaaaaaa-0000-0000-0000-000000000000"); err != nil || got != want {
		t.Errorf("limits %+v, %v\nwant %+v", got, err, want)
	}
}

// TestLiveListUsesIndex holds that the cost of listing does not grow with tombstones.
func TestLiveListUsesIndex(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "coppice.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for filter, want := range map[coppice.VMFilter]bool{
		{}:                 true,
		{Account: "alice"}: true,
		{Deleted: true}:    false, // the index knows no tombstones
	} {
		clauses, args := vmClauses(filter)
		var id, parent, unused int
		var plan string
		if err := db.read.QueryRow("EXPLAIN QUERY PLAN "+vms.selection(clauses), args...).Scan(&id, &parent, &unused, &plan); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(plan, "USING INDEX vms_live") != want {
			t.Errorf("%+v: %s", filter, plan)
		}
	}
}
