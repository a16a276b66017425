package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/qemu"
)

// A config is what the daemon is told. Flags win over the environment, the
// environment over the defaults; [config.settings] is the whole of it.
type config struct {
	data             string
	cache            string
	listen           string
	ingress          string
	tls              string
	acme             string
	acmeEmail        string
	domain           string
	egress           string
	resolvers        string
	sshListen        string
	accel            string
	spares           string
	husks            string
	vmUsers          string
	vmDiskRate       string
	history          string
	afterReboot      string
	requestRate      string
	memoryReserve    string
	memoryOvercommit string
	storageReserve   string
	evictBelow       string
	evictUntil       string
	logLevel         string
	logFormat        string
}

// A setting is one line of the configuration.
type setting struct {
	flag, env, fallback, usage string

	value *string
	check func(string) error
}

// settings lists all there is to configure. docs/CONFIG.md is the same table.
func (c *config) settings() []setting {
	return []setting{
		{"data", "COPPICE_DATA", string(host.DefaultDir),
			"directory for all that coppice keeps", &c.data, absolute},
		{"cache", "COPPICE_CACHE", "/var/cache/coppice",
			"directory for what can be made again: packages, images", &c.cache, absolute},
		{"listen", "COPPICE_LISTEN", "127.0.0.1:4700",
			"address of the API; port 0 takes a free one", &c.listen, address},
		{"ingress-listen", "COPPICE_INGRESS_LISTEN", "127.0.0.1:4780",
			"address of the HTTP ingress to VMs; off for none", &c.ingress, addressOrOff},
		{"ingress-tls-listen", "COPPICE_INGRESS_TLS_LISTEN", "127.0.0.1:4743",
			"address of the ingress by HTTPS; off for none", &c.tls, addressOrOff},
		{"acme", "COPPICE_ACME", "off",
			"who signs the certificates: letsencrypt, the URL of another authority by ACME, or off for one of the host's own", &c.acme, acmeURL},
		{"acme-email", "COPPICE_ACME_EMAIL", "",
			"where that authority may write to", &c.acmeEmail, emailAddress},
		{"domain", "COPPICE_DOMAIN", "vm.localhost",
			"domain of the VMs: a port of one is at <port>-<id>.<domain>", &c.domain, domainName},
		{"request-rate", "COPPICE_REQUEST_RATE", "200",
			"requests a second that an account may make of the API, and ten times as many at once; 0 is no limit", &c.requestRate, count},
		{"ssh-listen", "COPPICE_SSH_LISTEN", "127.0.0.1:2222",
			"address of the SSH gateway to VMs; off for none", &c.sshListen, addressOrOff},
		{"egress", "COPPICE_EGRESS", string(coppice.EgressOpen),
			"what VMs may reach that say nothing of it: open, closed, or a list of networks and names", &c.egress, egress},
		{"resolvers", "COPPICE_RESOLVERS", "host",
			"whom VMs' questions for names are passed on to: addresses, or host for those of /etc/resolv.conf", &c.resolvers, resolvers},
		{"accel", "COPPICE_ACCEL", "auto",
			"auto, kvm or tcg: whether KVM runs the VMs; auto tries it once per kernel", &c.accel, oneOf("auto", "kvm", "tcg")},
		{"spares", "COPPICE_SPARES", "2",
			"VMs to restore ahead, so that a create finds one; each costs about 90 MiB of memory", &c.spares, count},
		{"husks", "COPPICE_HUSKS", "2",
			"processes to start ahead, so that a fork finds one; each costs about 20 MiB of memory", &c.husks, count},
		{"after-reboot", "COPPICE_AFTER_REBOOT", "stopped",
			"what becomes of VMs that ran when the host was rebooted: stopped, or start to boot them again", &c.afterReboot, oneOf("stopped", "start")},
		{"vm-users", "COPPICE_VM_USERS", qemu.DefaultUsers.String(),
			"user ids that VMs run as, each VM as one of its own; no account of the host may be among them", &c.vmUsers, vmUsers},
		{"vm-disk-rate", "COPPICE_VM_DISK_RATE", "1G",
			"how much a VM may read of the disk in a second, and how much write, where the host can limit that; 0 is no limit", &c.vmDiskRate, sizeOrNone},
		{"history-days", "COPPICE_HISTORY_DAYS", "30",
			"days for which what happened to a VM is kept after it was deleted", &c.history, count},
		{"memory-reserve", "COPPICE_MEMORY_RESERVE", "1G",
			"memory of the host that VMs that start leave to everything else", &c.memoryReserve, sizeOrNone},
		{"memory-overcommit", "COPPICE_MEMORY_OVERCOMMIT", "10",
			"how often memory is promised: of each VM that runs, one part in so many is kept free for it to grow into; 1 keeps all", &c.memoryOvercommit, positive},
		{"storage-reserve", "COPPICE_STORAGE_RESERVE", "2G",
			"space in the pool that is kept for what is there already, when something new is to be made", &c.storageReserve, sizeOrNone},
		{"evict-below", "COPPICE_EVICT_BELOW", "3G",
			"space left in the pool below which sticky VMs that do not run are deleted; 0 is never", &c.evictBelow, sizeOrNone},
		{"evict-until", "COPPICE_EVICT_UNTIL", "5G",
			"space left in the pool at which that ends", &c.evictUntil, sizeOrNone},
		{"log-level", "COPPICE_LOG_LEVEL", "info",
			"debug, info, warn or error; a request that only looks and succeeds is logged at debug", &c.logLevel, oneOf("debug", "info", "warn", "error")},
		{"log-format", "COPPICE_LOG_FORMAT", "text",
			"text or json", &c.logFormat, oneOf("text", "json")},
	}
}

// bind makes flags of the named settings, or of all but "data", which every
// command has. The environment's word is the default.
func (c *config) bind(fs *pflag.FlagSet, getenv func(string) string, names ...string) {
	for _, s := range c.settings() {
		if slices.Contains(names, s.flag) || len(names) == 0 && s.flag != "data" {
			fs.StringVar(s.value, s.flag, cmp.Or(getenv(s.env), s.fallback), s.usage+" ["+s.env+"]")
		}
	}
}

// check reports the first setting that makes no sense, by all its names.
func (c *config) check() error {
	for _, s := range c.settings() {
		if *s.value == "" { // no flag of this command
			continue
		}
		if err := s.check(*s.value); err != nil {
			return fmt.Errorf("--%s (%s) %q: %w", s.flag, s.env, *s.value, err)
		}
	}
	return nil
}

// args is the command line by which the daemon gets this configuration.
func (c *config) args() []string {
	args := []string{"serve"}
	for _, s := range c.settings() {
		args = append(args, "--"+s.flag+"="+*s.value)
	}
	return args
}

func (c *config) dir() host.Dir { return host.Dir(c.data) }

// logger returns a logger as configured.
func (c *config) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	level.UnmarshalText([]byte(c.logLevel)) // checked
	options := &slog.HandlerOptions{Level: level}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func absolute(v string) error {
	if !filepath.IsAbs(v) {
		return fmt.Errorf("want an absolute path")
	}
	return nil
}

func address(v string) error {
	if _, _, err := net.SplitHostPort(v); err != nil {
		return fmt.Errorf("want host:port, as in 127.0.0.1:4700")
	}
	return nil
}

// off is the address of what is not to be there.
const off = "off"

func addressOrOff(v string) error {
	if v == off {
		return nil
	}
	return address(v)
}

// letsEncrypt is the authority that most know.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

func acmeURL(v string) error {
	if v == off || v == "letsencrypt" {
		return nil
	}
	if u, err := url.Parse(v); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("want off, letsencrypt, or a URL like %s", letsEncrypt)
	}
	return nil
}

func emailAddress(v string) error {
	if _, err := mail.ParseAddress(v); err != nil {
		return fmt.Errorf("want an address, as in admin@example.com")
	}
	return nil
}

func domainName(v string) error {
	if !coppice.ValidHostName(v) {
		return fmt.Errorf("want a domain name in lower case, as in vm.example.com")
	}
	return nil
}

func count(v string) error {
	if n, err := strconv.Atoi(v); err != nil || n < 0 {
		return fmt.Errorf("want a number, as in 2")
	}
	return nil
}

func positive(v string) error {
	if n, err := strconv.Atoi(v); err != nil || n < 1 {
		return fmt.Errorf("want a number from 1 on, as in 10")
	}
	return nil
}

func sizeOrNone(v string) error {
	_, err := parseMiB(v)
	return err
}

// parseMiB reads a size, which may be 0, and returns it in MiB.
func parseMiB(v string) (int64, error) {
	if v == "0" {
		return 0, nil
	}
	var g gigabytes
	if err := g.Set(v); err != nil {
		return 0, err
	}
	return int64(g * 1024), nil
}

func vmUsers(v string) error {
	_, err := qemu.ParseUsers(v)
	return err
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		for _, want := range values {
			if v == want {
				return nil
			}
		}
		return fmt.Errorf("want %s", strings.Join(values, ", "))
	}
}
