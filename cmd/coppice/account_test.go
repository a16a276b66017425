package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/mem"
)

func TestEnsureCredentials(t *testing.T) {
	ctx := t.Context()
	authority := access.New(mem.NewStore(), slog.New(slog.DiscardHandler))
	dir := host.Dir(t.TempDir())
	ensure := func(url string) host.Credentials {
		t.Helper()
		if err := ensureCredentials(ctx, authority, dir, url); err != nil {
			t.Fatal(err)
		}
		c, err := dir.ReadCredentials()
		if err != nil {
			t.Fatal(err)
		}
		err = authority.ByKey(ctx, c.Key, func(_ context.Context, p coppice.Principal) {
			if p.Account != access.HostAccount || !p.Admin {
				t.Fatalf("the key is %q's", p.Account)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}

	first := ensure("http://127.0.0.1:1")
	if first.URL != "http://127.0.0.1:1" {
		t.Errorf("URL %s", first.URL)
	}
	if again := ensure("http://127.0.0.1:1"); again != first {
		t.Errorf("changed without need: %+v", again)
	}
	if moved := ensure("http://127.0.0.1:2"); moved.Key != first.Key || moved.URL != "http://127.0.0.1:2" {
		t.Errorf("another address: %+v", moved)
	}

	if err := os.Remove(dir.Credentials()); err != nil {
		t.Fatal(err)
	}
	second := ensure("http://127.0.0.1:1")
	if second.Key == first.Key {
		t.Error("a lost key came back")
	}

	// Another store does not know the key.
	authority = access.New(mem.NewStore(), slog.New(slog.DiscardHandler))
	if other := ensure("http://127.0.0.1:1"); other.Key == second.Key {
		t.Error("a key that no store knows was kept")
	}
}

func TestLocalURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:4700": "http://127.0.0.1:4700",
		"0.0.0.0:80":     "http://127.0.0.1:80",
		"[::]:80":        "http://127.0.0.1:80",
		"[::1]:80":       "http://[::1]:80",
		"10.1.2.3:4700":  "http://10.1.2.3:4700",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := localURL(tcp); got != want {
			t.Errorf("localURL(%s) = %s, want %s", addr, got, want)
		}
	}
}
