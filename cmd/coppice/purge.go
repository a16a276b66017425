package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/hostnet"
	"github.com/coppice-vm/coppice/internal/progress"
	"github.com/coppice-vm/coppice/pool"
	"github.com/coppice-vm/coppice/qemu"
	"github.com/coppice-vm/coppice/sqlite"
)

func (m *Main) purgeCommand() *cobra.Command {
	var yes, keepCache bool
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Remove every VM, the daemon and all that coppice has put on this machine",
		Args:  cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			return m.purge(ctx, yes, keepCache)
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&keepCache, "keep-cache", false, "keep what can be made again only in minutes")
	m.config.bind(cmd.Flags(), m.Getenv, "cache")
	return cmd
}

func (m *Main) purge(ctx context.Context, yes, keepCache bool) error {
	if os.Geteuid() != 0 {
		return errRoot
	}
	if err := m.announceLoss(ctx, keepCache); err != nil {
		return err
	}
	if !yes {
		fmt.Fprint(m.Stdout, "Type yes to go on: ")
		answer, _ := bufio.NewReader(m.Stdin).ReadString('\n')
		if strings.TrimSpace(answer) != "yes" {
			return errors.New("nothing was removed")
		}
	}
	steps, dir := progress.New(m.Stderr), m.config.dir()
	for _, step := range []struct {
		name string
		run  func(*progress.Step) error
	}{
		{"daemon", func(*progress.Step) error {
			if err := m.stopDaemon(ctx); err != nil {
				return err
			}
			return dir.Uninstall(ctx)
		}},
		{"VMs", func(step *progress.Step) error { return m.endVMs(ctx, step) }},
		{"networks", func(*progress.Step) error { return hostnet.Purge(ctx, dir.Networks()) }},
		{"storage pool", func(*progress.Step) error { return pool.Remove(ctx, dir.Pool()) }},
		{"data", func(*progress.Step) error { return dir.Remove() }},
		{"cache", func(step *progress.Step) error {
			if keepCache {
				step.Result("kept: %s", m.config.cache)
				return nil
			}
			return m.removeCache()
		}},
	} {
		if err := steps.Do(step.name, step.run); err != nil {
			return err
		}
	}
	return nil
}

// announceLoss says what a purge will remove.
func (m *Main) announceLoss(ctx context.Context, keepCache bool) error {
	n, err := m.countVMs(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.Stdout, "This removes every VM (%d) with its disk, and all of coppice in\n", n)
	places := []string{m.config.data, m.config.cache}
	if keepCache {
		places = places[:1]
	}
	for _, place := range places {
		size, err := diskUsage(place)
		if err != nil {
			return err
		}
		fmt.Fprintf(m.Stdout, "  %s (%s)\n", place, gib(size))
	}
	return nil
}

// countVMs returns how many VMs there are, of every account.
func (m *Main) countVMs(ctx context.Context) (int, error) {
	file := m.config.dir().Database()
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	db, err := sqlite.Open(ctx, file)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	vms, err := db.VMs(ctx, coppice.VMFilter{})
	return len(vms), err
}

// endVMs ends every VM of the data directory that runs, answering or not.
func (m *Main) endVMs(ctx context.Context, step *progress.Step) error {
	h := qemu.New(qemu.Config{RunDir: m.config.dir().Run(), Log: slog.New(slog.DiscardHandler)})
	defer h.Close()
	running, err := h.Runs(ctx)
	if err != nil {
		return err
	}
	for _, id := range running {
		step.Note("ending %s", id)
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := h.Discard(ctx, id)
		cancel()
		if err != nil {
			return err
		}
	}
	step.Result("ended %d that ran", len(running))
	return nil
}

// removeCache removes what the image's builder keeps in the cache, and the
// cache's directory if nothing else is in it.
func (m *Main) removeCache() error {
	for _, pattern := range []string{"base-*", "building-*", "build.log", "lock"} {
		files, err := filepath.Glob(filepath.Join(m.config.cache, pattern))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := os.RemoveAll(file); err != nil {
				return err
			}
		}
	}
	err := os.Remove(m.config.cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// diskUsage returns how many bytes a directory takes of the disk it is on. 0 if
// it is not there.
func diskUsage(dir string) (int64, error) {
	var total int64
	var disk uint64
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // not there, or gone meanwhile
			return nil
		case err != nil:
			return err
		case name == dir:
			disk = st.Dev
		case st.Dev != disk && entry.IsDir(): // a mount: the image behind it counts
			return filepath.SkipDir
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}
