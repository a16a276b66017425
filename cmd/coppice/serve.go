package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/dashboard"
	"github.com/coppice-vm/coppice/guest"
	"github.com/coppice-vm/coppice/hostnet"
	"github.com/coppice-vm/coppice/http"
	"github.com/coppice-vm/coppice/image"
	"github.com/coppice-vm/coppice/ingress"
	"github.com/coppice-vm/coppice/internal/failports"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/metrics"
	"github.com/coppice-vm/coppice/pool"
	"github.com/coppice-vm/coppice/qemu"
	"github.com/coppice-vm/coppice/sqlite"
	"github.com/coppice-vm/coppice/traces"
)

const (
	// maxPoolBytes is how large the pool's file system may become where it has
	// to be an image file: it is sparse and holds no more than is written.
	maxPoolBytes = 4 << 40
	// finishTime is how long a daemon that was told to end waits for requests
	// and for what is being done to VMs.
	finishTime = 20 * time.Second
)

// A daemon is everything that serves a data directory.
type daemon struct {
	log      *slog.Logger
	recorder *metrics.Recorder
	tracer   *traces.Tracer
	manager  *lifecycle.Manager
	server   *http.Server
	served   chan error         // what serving ended with, of each server
	cancel   context.CancelFunc // ends what the daemon does by itself
	work     sync.WaitGroup
	closers  []func() error // run in reverse
}

// openDaemon starts a daemon, which answers when it is returned. Nothing is left
// of one that could not start. The caller closes it.
func openDaemon(ctx context.Context, c config, log *slog.Logger) (_ *daemon, err error) {
	d := &daemon{log: log, recorder: metrics.New(version(), log), served: make(chan error, servers)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.release())
		}
	}()
	if d.tracer, err = traces.New(ctx, version(), log); err != nil {
		return nil, err
	}
	d.closers = append(d.closers, d.tracer.Close) // the next daemon does not wait for it
	disk, err := d.openDisk(ctx, c)
	if err != nil {
		return nil, err
	}
	machines, err := d.openMachines(ctx, c, disk.image)
	if err != nil {
		return nil, err
	}
	if err := d.openManager(ctx, c, disk, machines); err != nil {
		return nil, err
	}
	return d, d.serve(ctx, c, disk.db)
}

// A disk is what a daemon keeps.
type disk struct {
	files *pool.Pool
	db    *sqlite.DB
	image coppice.Image // of this build, in the pool
}

// openDisk takes hold of the data directory, and opens what is in it.
func (d *daemon) openDisk(ctx context.Context, c config) (k disk, err error) {
	dir := c.dir()
	if err := dir.Make(); err != nil {
		return k, err
	}
	claim, err := dir.Claim()
	if err != nil {
		return k, err
	}
	d.closers = append(d.closers, claim.Release)

	host.Notify("STATUS=opening the pool")
	if err := pool.EnsureFilesystem(ctx, dir.Pool(), maxPoolBytes, d.log); err != nil {
		return k, err
	}
	if k.files, err = pool.Open(dir.Pool(), d.log); err != nil {
		return k, err
	}
	d.closers = append(d.closers, k.files.Close)
	if k.db, err = sqlite.Open(ctx, dir.Database()); err != nil {
		return k, err
	}
	d.closers = append(d.closers, k.db.Close)

	host.Notify("STATUS=installing the image")
	if k.image, err = installedImage(ctx, c, k.files, d.log); err != nil {
		return k, err
	}
	return k, dir.SetImage(k.image.ID)
}

// Machines are what a daemon runs VMs with.
type machines struct {
	vmm     *qemu.Hypervisor
	accel   qemu.Accel
	network *hostnet.Network
	egress  coppice.Egress // of VMs that say nothing of it
}

// openMachines finds out how this host runs VMs best, and readies it for that.
func (d *daemon) openMachines(ctx context.Context, c config, img coppice.Image) (m machines, err error) {
	host.Notify("STATUS=finding out whether KVM works here")
	accel, why, err := accelerator(ctx, c, img, d.log)
	if err != nil {
		return m, err
	}
	m.accel = accel
	d.log.Info("accelerator", "accel", accel, "because", why)
	if err := qemu.CheckTracing(os.Getpid()); err != nil {
		d.log.Error("VMs cannot go on from captures: none can be created, forked or resumed", "because", err, "to mend it", fixTracing)
	}
	users, err := qemu.ParseUsers(c.vmUsers)
	if err != nil {
		return m, err
	}
	diskRate, err := parseMiB(c.vmDiskRate)
	if err != nil {
		return m, err
	}
	if m.network, m.egress, err = c.network(d.log); err != nil {
		return m, err
	}
	d.closers = append(d.closers, m.network.Close)
	m.vmm = qemu.New(qemu.Config{RunDir: c.dir().Run(), Accel: accel, Tap: m.network.Tap, Users: users, IOBytes: diskRate << 20, Log: d.log})
	d.closers = append(d.closers, func() error { m.vmm.Close(); return nil })
	return m, nil
}

// openManager takes VMs up where the daemon before has left them.
func (d *daemon) openManager(ctx context.Context, c config, k disk, m machines) error {
	spares, sparesErr := strconv.Atoi(c.spares)
	husks, husksErr := strconv.Atoi(c.husks)
	days, daysErr := strconv.Atoi(c.history)
	budget, budgetErr := c.budget()
	eviction, evictionErr := c.eviction()
	boot, bootErr := host.BootID()
	qemuVersion, qemuErr := qemu.Version(ctx, "")
	err := errors.Join(sparesErr, husksErr, daysErr, budgetErr, evictionErr, bootErr, qemuErr)
	if err != nil {
		return err
	}
	d.manager, err = lifecycle.Open(ctx, lifecycle.Config{
		Store: failports.Store(nil, k.db), Captures: failports.Captures(nil, k.db), Quotas: k.db, History: k.db,
		Pool: failports.Pool(nil, k.files), Gauge: failports.Gauge(nil, gauge{k.files.Usage}), Budget: budget, Eviction: eviction,
		Hypervisor: failports.Hypervisor(nil, m.vmm), VMM: fmt.Sprintf("%s, %s", qemuVersion, m.accel), Guest: failports.Guest(nil, guest.New(d.log)),
		Network: failports.Network(nil, m.network), Egress: m.egress, Places: []coppice.Inspector{c.dir()},
		Image: k.image.ID, Size: defaultSize(m.accel), Spares: spares, Husks: husks,
		HostBoot: boot, StartAgain: c.afterReboot == "start", KeepHistory: time.Duration(days) * 24 * time.Hour,
		Log: d.log, Observer: d.recorder, Tracer: d.tracer,
	})
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.closeManager)
	d.recorder.Watch(d.manager.Census)
	return nil
}

// serve opens the API.
func (d *daemon) serve(ctx context.Context, c config, db *sqlite.DB) (err error) {
	authority := access.New(db, d.log)
	directory := &ingress.Directory{Domain: c.domain, Mappings: db}
	web, where, err := d.serveIngress(ctx, c, db, directory, authority)
	if err != nil {
		return err
	}
	sshGateway, err := d.serveSSH(ctx, c, authority)
	if err != nil {
		return err
	}
	rate, err := strconv.Atoi(c.requestRate)
	if err != nil {
		return err
	}
	d.server, err = http.New(http.Config{
		VMs: visited{d.manager, web}, Access: authority, Log: d.log, Version: version(), SpoolDir: c.data, SSH: sshGateway, Metrics: d.recorder, Traces: d.tracer,
		Domains: directory, Ingress: where, Dashboard: dashboard.Handler(),
		RequestRate: rate,
		Doctor:      (&Main{config: c, Getenv: func(string) string { return "" }}).findings,
		Ready: func(ctx context.Context) error {
			_, err := db.VMs(ctx, coppice.VMFilter{})
			return err
		},
	})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.listen)
	if err != nil {
		return fmt.Errorf("%w (choose another address with --listen)", err)
	}
	url := localURL(listener.Addr())
	if err := ensureCredentials(ctx, authority, c.dir(), url); err != nil {
		return errors.Join(err, listener.Close())
	}
	go func() { d.served <- d.server.Serve(listener) }()
	d.closers = append(d.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), finishTime)
		defer cancel()
		return d.server.Shutdown(ctx)
	})
	d.log.Info("serving", "url", url, "data", c.data)

	// The first VM of the default size is to find its template made.
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.work.Go(func() {
		if _, err := d.manager.Template(ctx, d.manager.Size); err != nil && ctx.Err() == nil {
			d.log.Error("the template of the default size could not be made; the first create tries again", "error", err)
		}
	})
	return nil
}

// Wait returns when ctx ends, or with the error that ended the serving.
func (d *daemon) Wait(ctx context.Context) error {
	select {
	case err := <-d.served:
		return err
	case <-ctx.Done():
		d.log.Info("leaving; the VMs run on")
		return nil
	}
}

// Close stops the daemon: what is being done is finished if it does not take
// long, and the VMs run on.
func (d *daemon) Close() error {
	d.cancel()
	err := d.release()
	d.work.Wait()
	return err
}

func (d *daemon) closeManager() error {
	ctx, cancel := context.WithTimeout(context.Background(), finishTime)
	defer cancel()
	d.manager.Close(ctx)
	return nil
}

// release closes what has been opened, the last first.
func (d *daemon) release() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	d.closers = nil
	return errors.Join(errs...)
}

// installedImage returns the image of this build in the pool, put there from
// the cache if need be.
func installedImage(ctx context.Context, c config, files *pool.Pool, log *slog.Logger) (coppice.Image, error) {
	agent, err := agentBinary()
	if err != nil {
		return coppice.Image{}, err
	}
	builder := image.Builder{CacheDir: c.cache, Log: log, Progress: func(stage string) { host.Notify("STATUS=" + stage) }}
	base, err := builder.Build(ctx)
	if err != nil {
		return coppice.Image{}, fmt.Errorf("build the base image: %w", err)
	}
	return files.InstallImage(ctx, base.ID(agent), func(dir string) (coppice.Image, error) {
		return base.Install(ctx, agent, dir)
	})
}

// accelerator returns what is to run the VMs, and why.
func accelerator(ctx context.Context, c config, img coppice.Image, log *slog.Logger) (qemu.Accel, string, error) {
	if c.accel != "auto" {
		return qemu.Accel(c.accel), "configured", nil
	}
	return qemu.Probe(ctx, qemu.Trial{Image: img, StatePath: c.dir().Accelerator(), Scratch: c.dir().Pool(), Log: log})
}

// agentBinary reads the guest agent, which lies beside this program.
func agentBinary() ([]byte, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	agent, err := os.ReadFile(filepath.Join(filepath.Dir(exe), "coppice-agent"))
	if err != nil {
		return nil, fmt.Errorf("the guest agent belongs beside the program: %w", err)
	}
	return agent, nil
}

// defaultSize is what a VM gets that asks for nothing. Where processors are
// emulated a second one makes nearly everything slower, so there it is one.
func defaultSize(accel qemu.Accel) coppice.Size {
	size := coppice.Size{VCPUs: 2, MemoryMiB: 1024, DiskMiB: 16 << 10}
	if accel == qemu.TCG {
		size.VCPUs = 1
	}
	return size
}
