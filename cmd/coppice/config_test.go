package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice/internal/host"
)

// environment is a Getenv for tests.
func environment(pairs ...string) func(string) string {
	env := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return env[name] }
}

// parse returns a program that has parsed args, and what it said on the way.
func parse(getenv func(string) string, args ...string) (*Main, error) {
	m := &Main{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Getenv: getenv}
	return m, m.Parse(args)
}

func TestConfigPrecedence(t *testing.T) {
	m, err := parse(environment("COPPICE_LISTEN", "127.0.0.1:1", "COPPICE_ACCEL", "tcg", "COPPICE_DATA", "/env"),
		"serve", "--listen", "127.0.0.1:2", "--log-format", "json")
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		data:          "/env",
		cache:         "/var/cache/coppice",
		listen:        "127.0.0.1:2",
		ingress:       "127.0.0.1:4780",
		tls:           "127.0.0.1:4743",
		acme:          "off",
		domain:        "vm.localhost",
		egress:        "open",
		resolvers:     "host",
		sshListen:     "127.0.0.1:2222",
		accel:         "tcg",
		spares:        "2",
		husks:         "2",
		vmUsers:       "2000000000-2000065535",
		vmDiskRate:    "1G",
		history:       "30",
		afterReboot:   "stopped",
		requestRate:   "200",
		memoryReserve: "1G", memoryOvercommit: "10", storageReserve: "2G", evictBelow: "3G", evictUntil: "5G",
		logLevel:  "info",
		logFormat: "json",
	}
	if diff := cmp.Diff(want, m.config, cmp.AllowUnexported(config{})); diff != "" {
		t.Error(diff)
	}
}

// What up is told, the daemon that it starts is told.
func TestConfigArgs(t *testing.T) {
	up, err := parse(environment("COPPICE_LOG_LEVEL", "debug"), "up", "--data", "/d", "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve, err := parse(environment(), up.config.args()...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(up.config, serve.config, cmp.AllowUnexported(config{})); diff != "" {
		t.Error(diff)
	}
}

func TestConfigCheck(t *testing.T) {
	for _, args := range []string{
		"--data=var", "--cache=x", "--listen=4700", "--ingress-listen=no", "--domain=localhost", "--acme=http://x", "--acme-email=x", "--accel=xen", "--log-level=loud", "--log-format=xml",
		"--memory-reserve=much", "--memory-overcommit=0", "--storage-reserve=-1G",
	} {
		_, err := parse(environment(), "serve", args)
		flag, _, _ := strings.Cut(args, "=")
		if err == nil || !strings.Contains(err.Error(), flag+" (COPPICE_") {
			t.Errorf("%s: %v, want an error that names the flag and the variable", args, err)
		}
	}
}

// The table in docs/CONFIG.md says what the flags say.
func TestConfigIsDocumented(t *testing.T) {
	var table bytes.Buffer
	fmt.Fprintln(&table, "| flag | environment | default | |")
	fmt.Fprintln(&table, "|---|---|---|---|")
	var c config
	for _, s := range c.settings() {
		fmt.Fprintf(&table, "| `--%s` | `%s` | `%s` | %s |\n", s.flag, s.env, s.fallback, s.usage)
	}
	doc, err := os.ReadFile("../../docs/CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/CONFIG.md lacks this table:\n%s", table.String())
	}
}

func TestCredentialsPrecedence(t *testing.T) {
	dir := host.Dir(t.TempDir())
	if err := dir.WriteCredentials(host.Credentials{URL: "http://file", Key: "file"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want host.Credentials
		err  string
	}{
		{name: "the data directory's", want: host.Credentials{URL: "http://file", Key: "file"}},
		{name: "the SDK's", env: []string{"FREESTYLE_API_URL", "http://sdk", "FREESTYLE_API_KEY", "sdk"},
			want: host.Credentials{URL: "http://sdk", Key: "sdk"}},
		{name: "the SDK's key is for another service", env: []string{"FREESTYLE_API_KEY", "sdk"},
			want: host.Credentials{URL: "http://file", Key: "file"}},
		{name: "ours before the SDK's", env: []string{
			"FREESTYLE_API_URL", "http://sdk", "FREESTYLE_API_KEY", "sdk",
			"COPPICE_API_URL", "http://ours", "COPPICE_API_KEY", "ours"},
			want: host.Credentials{URL: "http://ours", Key: "ours"}},
		{name: "flags first", env: []string{"COPPICE_API_URL", "http://ours", "COPPICE_API_KEY", "ours"},
			args: []string{"--api-url", "http://flag", "--api-key", "flag"},
			want: host.Credentials{URL: "http://flag", Key: "flag"}},
		{name: "another key for this daemon", args: []string{"--api-key", "flag"},
			want: host.Credentials{URL: "http://file", Key: "flag"}},
		{name: "our key goes nowhere else", args: []string{"--api-url", "http://flag"}, err: "no API key"},
		{name: "never set up", args: []string{"--data", "/nowhere"}, err: "make up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := parse(environment(append(c.env, "COPPICE_DATA", string(dir))...), append(c.args, "env")...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.credentials()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}
