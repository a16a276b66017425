package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/coppice-vm/coppice/api"
)

// vmFlags are the flags that say what a VM is like.
type vmFlags struct {
	name, from   string
	cpu          int
	memory, disk gigabytes
	idle         idleTimeout
	persistence  persistence
	egress       string
	private      bool
}

func (f *vmFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.name, "name", "", "name of the VM; need not be unique")
	fs.StringVar(&f.from, "from", "", "snapshot to start from, instead of the host's image")
	fs.IntVar(&f.cpu, "cpu", 0, "virtual CPUs, a power of two")
	fs.Var(&f.memory, "memory", "memory, a power of two: 512M, 2G")
	fs.Var(&f.disk, "disk", "root disk: 40G")
	fs.Var(&f.idle, "idle-timeout", "time without activity after which the VM is reclaimed: 10m, never")
	fs.Var(&f.persistence, "persistence", "sticky, sticky:PRIORITY (0 to 10), persistent, ephemeral, ephemeral:OnStop or ephemeral:OnSuspend")
	fs.StringVar(&f.egress, "egress", "", "what the VM may reach: open, closed, or a list like 10.1.0.0/16,*.example.com")
	fs.BoolVar(&f.private, "private", false, "what the VM serves on the web is only for those who show a key or token for it")
}

// spec says only what the user did.
func (f *vmFlags) spec() api.VMSpec {
	s := api.VMSpec{IdleTimeoutSeconds: f.idle.value, Persistence: f.persistence.value}
	if f.name != "" {
		s.Name = &f.name
	}
	if f.from != "" {
		s.SnapshotID = &f.from
	}
	if f.cpu != 0 {
		s.VCPUCount = &f.cpu
	}
	if f.memory != 0 {
		s.MemSizeGb = (*float64)(&f.memory)
	}
	if f.disk != 0 {
		s.RootfsSizeGb = (*float64)(&f.disk)
	}
	if f.egress != "" {
		s.Egress = &f.egress
	}
	if f.private {
		s.Private = &f.private
	}
	return s
}

// gigabytes is a size in GiB: "2G", "2" and "2048M" are the same.
type gigabytes float64

func (g *gigabytes) Type() string { return "size" }

func (g *gigabytes) String() string {
	if *g == 0 {
		return ""
	}
	return mib(int64(*g * 1024))
}

func (g *gigabytes) Set(s string) error {
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I")
	scale := 1.0
	for unit, gib := range map[string]float64{"T": 1024, "G": 1, "M": 1.0 / 1024} {
		if rest, ok := strings.CutSuffix(number, unit); ok {
			number, scale = rest, gib
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n > 0 && n < 1<<30) {
		return errors.New("want a size like 512M or 2G")
	}
	*g = gigabytes(n * scale)
	return nil
}

// never is the idle timeout of VMs that are not to be reclaimed.
var never = api.IdleTimeout{Set: true}

// idleTimeout is a duration or "never".
type idleTimeout struct{ value api.IdleTimeout }

func (t *idleTimeout) Type() string { return "duration" }

func (t *idleTimeout) String() string {
	switch {
	case !t.value.Set:
		return ""
	case t.value.Seconds == nil:
		return "never"
	}
	return short(time.Duration(*t.value.Seconds * float64(time.Second)))
}

func (t *idleTimeout) Set(s string) error {
	if s == "never" {
		t.value = never
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("want a duration like 90s or 10m, or never")
	}
	t.value = api.IdleTimeout{Set: true, Seconds: new(d.Seconds())}
	return nil
}

// persistence is a type, maybe with a colon and the type's own word.
type persistence struct{ value *api.Persistence }

func (p *persistence) Type() string { return "type" }

func (p *persistence) String() string {
	if p.value == nil {
		return ""
	}
	return p.value.Type
}

func (p *persistence) Set(s string) error {
	kind, detail, more := strings.Cut(s, ":")
	v := &api.Persistence{Type: kind}
	switch {
	case !more && (kind == "sticky" || kind == "persistent" || kind == "ephemeral"):
	case kind == "sticky":
		n, err := strconv.Atoi(detail)
		if err != nil {
			return errors.New("after sticky: comes a priority from 0 to 10")
		}
		v.Priority = &n
	case kind == "ephemeral" && (detail == "OnStop" || detail == "OnSuspend"):
		v.DeleteEvent = &detail
	default:
		return errors.New("want sticky, sticky:PRIORITY, persistent, ephemeral, ephemeral:OnStop or ephemeral:OnSuspend")
	}
	p.value = v
	return nil
}

// mib writes a number of MiB as people say it.
func mib(n int64) string {
	if n >= 1024 {
		return strconv.FormatFloat(math.Round(float64(n)/102.4)/10, 'f', -1, 64) + "G"
	}
	return fmt.Sprintf("%dM", n)
}

// gib writes a number of bytes in GiB.
func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// short writes a duration without the zeros in its end: 10m, not 10m0s.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// age writes how long ago something was, in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// state is a VM's state in a table.
func state(vm api.VM) string {
	if vm.Deleted {
		return "deleted"
	}
	return string(vm.State)
}
