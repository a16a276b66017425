package main

import (
	"net"
	"os"
	"testing"

	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/mem"
)

func TestEnsureCredentials(t *testing.T) {
	ctx := t.Context()
	accounts := mem.NewAccounts()
	dir := host.Dir(t.TempDir())
	ensure := func(url string) host.Credentials {
		t.Helper()
		if err := ensureCredentials(ctx, accounts, dir, url); err != nil {
			t.Fatal(err)
		}
		c, err := dir.ReadCredentials()
		if err != nil {
			t.Fatal(err)
		}
		p, err := keys{accounts}.Key(ctx, c.Key)
		if err != nil || p.Account != defaultAccount {
			t.Fatalf("the key is %q's: %v", p.Account, err)
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
	accounts = mem.NewAccounts()
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
