package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/hostnet"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/qemu"
)

func (m *Main) doctorCommand() *cobra.Command {
	var audit, repair bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at this machine: what there is, what is missing, and how to mend it",
		Long: `Look at this machine: what there is, what is missing, and how to mend it.

The exit status is 1 if something is broken.

With --audit it compares what the store says with what this machine has: processes,
sockets, namespaces, links, rules, loop devices, files. What there is too much and
what is missing is listed with what mends it, and the exit status is 1 if anything
is left. --repair mends what can be mended without harm.`,
		Args: cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			if audit || repair {
				return m.audit(ctx, repair)
			}
			return m.doctor(ctx)
		}),
	}
	cmd.Flags().BoolVar(&audit, "audit", false, "compare what the store says with what this machine has")
	cmd.Flags().BoolVar(&repair, "repair", false, "do so, and mend what can be mended without harm")
	m.config.bind(cmd.Flags(), m.Getenv, "cache", "accel")
	return cmd
}

// A finding is one thing that the doctor looked at. Its fix is what to do about
// it; empty if nothing needs doing.
type finding = api.Finding

const fixUp = "make up (or: coppice up)"

// findings looks at everything.
func (m *Main) findings(ctx context.Context) []finding {
	return []finding{
		{Name: "coppice", Text: version()},
		{Name: "machine", Text: describeMachine().String()},
		findPackages(),
		findQEMU(ctx),
		m.findData(),
		m.findPool(),
		m.findBudget(),
		m.findImage(),
		m.findAccelerator(),
		findNetwork(),
		m.findTracing(),
		m.findConfinement(),
		m.findDaemon(),
		m.findAPI(ctx),
		m.findSSH(),
		m.findAhead(ctx),
	}
}

func (m *Main) doctor(ctx context.Context) error {
	findings := m.findings(ctx)
	broken := 0
	for _, f := range findings {
		if f.Broken {
			broken++
		}
	}
	err := m.print(findings, func(w *tabwriter.Writer) {
		for _, f := range findings {
			mark := "ok"
			if f.Broken {
				mark = "BROKEN"
			} else if f.Fix != "" {
				mark = "note"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", mark, f.Name, f.Text)
			if f.Fix != "" {
				fmt.Fprintf(w, "\t\tto mend it: %s\n", f.Fix)
			}
		}
	})
	if err == nil && broken > 0 {
		err = exitStatus(1)
	}
	return err
}

func findPackages() finding {
	f := finding{Name: "packages", Text: "all there"}
	if names := missing(hostPackages()); len(names) > 0 {
		f.Broken = true
		f.Text = "missing: " + strings.Join(names, " ")
		f.Fix = "apt-get install " + strings.Join(names, " ") + ", or " + fixUp
	}
	return f
}

func findQEMU(ctx context.Context) finding {
	v, err := qemu.Version(ctx, "")
	if err != nil {
		return finding{Name: "QEMU", Broken: true, Text: err.Error(), Fix: fixUp}
	}
	return finding{Name: "QEMU", Text: v}
}

// findNetwork tries whether VMs can have networks.
func findNetwork() finding {
	if err := hostnet.Check(); err != nil {
		return finding{Name: "network", Broken: true, Text: "VMs cannot have a network: " + err.Error(),
			Fix: "be root, and use a kernel with tun, veth, and nf_tables with its masquerading, reject and netdev parts"}
	}
	return finding{Name: "network", Text: "VMs can have a network each, with rules of their own"}
}

func (m *Main) findData() finding {
	f := finding{Name: "data", Text: m.config.data}
	if _, err := os.Stat(m.config.data); err != nil {
		f.Broken, f.Text, f.Fix = true, err.Error(), fixUp
	}
	return f
}

// findPool looks at the file system of the pool, and at the one around it, which
// it may be an image in.
func (m *Main) findPool() finding {
	const low = 5 << 30
	f := finding{Name: "pool", Text: m.config.dir().Pool()}
	var pool, around unix.Statfs_t
	err := errors.Join(unix.Statfs(m.config.dir().Pool(), &pool), unix.Statfs(m.config.data, &around))
	if err != nil {
		f.Broken, f.Text, f.Fix = true, f.Text+": "+err.Error(), fixUp
		return f
	}
	kind, shares := fileSystem(pool.Type)
	free := min(int64(pool.Bavail)*pool.Bsize, int64(around.Bavail)*around.Bsize)
	f.Text += fmt.Sprintf(": %s, %s, of which %s can still be written", kind,
		gib(int64(pool.Blocks)*pool.Bsize), gib(free))
	switch {
	case !shares:
		f.Broken, f.Fix = true, "its image is not mounted: "+fixUp
	case free < low:
		f.Fix = "make room: delete VMs (coppice rm), or other files on that disk"
	}
	return f
}

// fileSystem returns the name of a file system, and whether it can share blocks.
func fileSystem(magic int64) (name string, shares bool) {
	switch magic {
	case unix.XFS_SUPER_MAGIC:
		return "xfs", true
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", true
	}
	return fmt.Sprintf("a file system (%#x) that cannot share blocks", magic), false
}

func (m *Main) findImage() finding {
	id, err := m.config.dir().Image()
	if errors.Is(err, fs.ErrNotExist) {
		return finding{Name: "image", Broken: true, Text: "none is installed", Fix: fixUp}
	}
	if err != nil {
		return finding{Name: "image", Broken: true, Text: err.Error(), Fix: fixUp}
	}
	return finding{Name: "image", Text: string(id)}
}

// findAccelerator says what the daemon has found out, or will.
func (m *Main) findAccelerator() finding {
	f := finding{Name: "accelerator"}
	if m.config.accel != "auto" {
		f.Text = m.config.accel + ": configured"
		return f
	}
	var found struct{ Accel, Detail, Kernel string }
	b, err := os.ReadFile(m.config.dir().Accelerator())
	if err == nil {
		err = json.Unmarshal(b, &found)
	}
	kvm, kvmErr := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if kvmErr == nil {
		kvm.Close()
	}
	switch {
	case kvmErr != nil:
		f.Text = fmt.Sprintf("tcg: KVM cannot be used: %v", kvmErr)
	case errors.Is(err, fs.ErrNotExist):
		f.Text = "not tried yet: the daemon tries KVM when it starts"
	case err != nil:
		f.Broken, f.Text, f.Fix = true, err.Error(), "remove "+m.config.dir().Accelerator()
	default:
		f.Text = fmt.Sprintf("%s: %s, as was tried on Linux %s", found.Accel, found.Detail, found.Kernel)
	}
	return f
}

// findAhead says what the VMs cost that are made ahead: those that have a
// process and are nobody's.
func (m *Main) findAhead(ctx context.Context) finding {
	f := finding{Name: "made ahead"}
	c, err := m.client()
	if err != nil {
		return finding{Name: f.Name, Broken: true, Text: err.Error(), Fix: fixUp}
	}
	defer c.Close()
	list, err := c.VMs(ctx, client.Query{})
	if err != nil {
		return finding{Name: f.Name, Broken: true, Text: err.Error(), Fix: fixUp}
	}
	ahead := vmProcesses(m.config.dir())
	for _, vm := range list.VMs {
		delete(ahead, vm.ID)
	}
	var memory int64
	for _, pid := range ahead {
		pss, _ := procField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss")
		memory += kib(pss) >> 10
	}
	f.Text = fmt.Sprintf("%d processes wait for the next creates and forks; they take %s of memory (--spares and --husks say how many)", len(ahead), mib(memory))
	return f
}

// daemonOrSelf returns the process that VMs are started by, or would be.
func (m *Main) daemonOrSelf() (pid int) {
	if p, err := m.config.dir().Daemon(); err == nil {
		return p.PID
	}
	return os.Getpid()
}

// fixTracing mends what forbids the daemon to trace.
const fixTracing = "take what filters system calls out of the daemon's unit (SystemCallFilter=, RestrictRealtime= and others), " +
	"start its container with seccomp=unconfined, keep kernel.yama.ptrace_scope below 3"

// findTracing says whether VMs can go on from captures.
func (m *Main) findTracing() finding {
	if err := qemu.CheckTracing(m.daemonOrSelf()); err != nil {
		return finding{Name: "tracing", Broken: true, Text: "VMs cannot go on from captures: the daemon may not trace them: " + err.Error(), Fix: fixTracing}
	}
	return finding{Name: "tracing", Text: "the daemon may trace VMs"}
}

// findConfinement says what keeps VMs from the host and from each other, where the
// daemon is, or would be.
func (m *Main) findConfinement() finding {
	f := finding{Name: "confinement"}
	pid := m.daemonOrSelf()
	there, missing, err := qemu.Limited(pid)
	if err != nil {
		f.Broken, f.Text, f.Fix = true, err.Error(), "mount /proc"
		return f
	}
	f.Text = "each VM is a user of its own, without rights, in namespaces of its own"
	if len(there) > 0 {
		f.Text += "; limited by control groups: " + strings.Join(there, ", ")
	}
	if len(missing) > 0 {
		f.Text += "; not limited: " + strings.Join(missing, ", ")
		f.Fix = "mount control groups with these controllers at /sys/fs/cgroup, or a VM can take all that there is of it"
	}
	return f
}

func (m *Main) findDaemon() finding {
	f := finding{Name: "daemon"}
	p, err := m.config.dir().Daemon()
	switch {
	case errors.Is(err, host.ErrNoDaemon):
		f.Broken, f.Text, f.Fix = true, "does not run", fixUp
		return f
	case err != nil:
		f.Broken, f.Text, f.Fix = true, err.Error(), "look at that process"
		return f
	}
	rss, _ := procField(fmt.Sprintf("/proc/%d/status", p.PID), "VmRSS")
	f.Text = fmt.Sprintf("process %d, %s, log in %s", p.PID, cmp.Or(rss, "of unknown size"), m.config.dir().Log())
	exe, err := os.Executable()
	if err == nil {
		if same, err := p.Runs(exe); err == nil && !same {
			f.Fix = "it is of another build than this program: " + fixUp
		}
	}
	return f
}

func (m *Main) findAPI(ctx context.Context) finding {
	f := finding{Name: "API"}
	creds, err := m.credentials()
	if err != nil {
		f.Broken, f.Text, f.Fix = true, err.Error(), fixUp
		return f
	}
	var list api.VMList
	c, err := client.New(creds.URL, creds.Key)
	if err == nil {
		defer c.Close()
		list, err = c.VMs(ctx, client.Query{})
	}
	if err != nil {
		f.Broken, f.Text, f.Fix = true, err.Error(), fixUp
		return f
	}
	f.Text = fmt.Sprintf("%s: VMs: %d, running: %d", creds.URL, list.TotalCount, list.RunningCount)
	return f
}
