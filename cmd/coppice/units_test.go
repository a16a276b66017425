package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/coppice-vm/coppice/api"
)

// The flags of create become the request that they say, and nothing else.
func TestVMFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `{}`},
		{[]string{"--name", "a", "--cpu", "4", "--memory", "512M", "--disk", "40GiB"},
			`{"name":"a","vcpuCount":4,"memSizeGb":0.5,"rootfsSizeGb":40}`},
		{[]string{"--memory", "2", "--disk", "1T", "--from", "sc-1"}, `{"snapshotId":"sc-1","memSizeGb":2,"rootfsSizeGb":1024}`},
		{[]string{"--idle-timeout", "90s"}, `{"idleTimeoutSeconds":90}`},
		{[]string{"--idle-timeout", "never"}, `{"idleTimeoutSeconds":null}`},
		{[]string{"--persistence", "sticky"}, `{"persistence":{"type":"sticky"}}`},
		{[]string{"--persistence", "sticky:0"}, `{"persistence":{"type":"sticky","priority":0}}`},
		{[]string{"--persistence", "ephemeral:OnStop"}, `{"persistence":{"type":"ephemeral","deleteEvent":"OnStop"}}`},
	} {
		var f vmFlags
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.bind(fs)
		if err := fs.Parse(c.args); err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		got, err := json.Marshal(api.CreateVM{VMSpec: f.spec()})
		if err != nil || string(got) != c.want {
			t.Errorf("%q is %s, %v; want %s", c.args, got, err, c.want)
		}
	}
}

func TestVMFlagsRefuse(t *testing.T) {
	for _, args := range [][]string{
		{"--memory", "lots"}, {"--memory", "0"}, {"--memory", "-1G"}, {"--memory", "NaN"}, {"--memory", "G"}, {"--disk", "1e99"},
		{"--idle-timeout", "10"}, {"--idle-timeout", "-1s"},
		{"--persistence", "forever"}, {"--persistence", "sticky:high"}, {"--persistence", "persistent:1"}, {"--persistence", "ephemeral:OnDelete"},
	} {
		var f vmFlags
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.bind(fs)
		if err := fs.Parse(args); err == nil {
			t.Errorf("%q was taken as %+v", args, f)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		59 * time.Second: "59s", 90 * time.Second: "1m", 59 * time.Minute: "59m",
		47 * time.Hour: "47h", 49 * time.Hour: "2d",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Second: "1m30s", 100 * time.Minute: "1h40m",
		10 * time.Second: "10s", 0: "0s",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestMiB(t *testing.T) {
	for n, want := range map[int64]string{512: "512M", 1024: "1G", 1536: "1.5G", 1 << 20: "1024G"} {
		if got := mib(n); got != want {
			t.Errorf("mib(%d) = %s, want %s", n, got, want)
		}
	}
}
