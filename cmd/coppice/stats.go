package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) statsCommand() *cobra.Command {
	var interval time.Duration
	var count int
	cmd := &cobra.Command{
		Use:   "stats VM",
		Short: "Show what a VM takes of this machine, again and again",
		Long: `Show what a VM takes of this machine, again and again.

CPU is in percent of one processor. Memory and what is stored of the disk are in
MiB: what the VM has to itself, and what it shares with others. Disk and network
are in KiB a second since the line before. To look does not wake a VM, nor keep
it awake. With --json, every line is what the API says.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, id string, _ []string) error {
			if interval < 100*time.Millisecond || interval > 10*time.Second {
				return fmt.Errorf("--interval is %v; it can be 100ms to 10s", interval)
			}
			if count < 0 {
				return fmt.Errorf("--count is %d; it can be 1 or more, or 0 for no end", count)
			}
			show := showStats(m.Stdout)
			if m.json {
				show = func(s api.Stats) error { return json.NewEncoder(m.Stdout).Encode(s) }
			}
			shown := 0
			err := c.Stats(ctx, id, interval, func(s api.Stats) error {
				if err := show(s); err != nil {
					return err
				}
				if shown++; shown == count {
					return errShown
				}
				return nil
			})
			if errors.Is(err, errShown) || ctx.Err() != nil { // it was interrupted, as its users do
				return nil
			}
			return err
		}),
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two lines: 100ms to 10s")
	cmd.Flags().IntVarP(&count, "count", "n", 0, "lines to show; 0 shows more until you interrupt")
	return cmd
}

// errShown ends a stream of which enough has been shown.
var errShown = errors.New("enough has been shown")

// showStats returns what writes stats as lines of a table.
func showStats(w io.Writer) func(api.Stats) error {
	var last *api.Stats
	return func(now api.Stats) error {
		if last == nil {
			fmt.Fprintln(w, "TIME      STATE          CPU%  MEMORY  SHARED  STORED  SHARED  READ/S WRITE/S    IN/S   OUT/S")
			last = &now
		}
		if last.InstanceID != now.InstanceID { // its counters have begun anew
			last = &api.Stats{At: last.At}
		}
		took := now.At.Sub(last.At).Seconds()
		_, err := fmt.Fprintf(w, "%s  %-10s %8s %7d %7d %7d %7d %7s %7s %7s %7s\n",
			now.At.Local().Format(time.TimeOnly), now.State,
			rate(100*(now.CPU.UsedSeconds-last.CPU.UsedSeconds), took),
			now.Memory.OwnBytes>>20, now.Memory.SharedBytes>>20, now.Disk.OwnBytes>>20, now.Disk.SharedBytes>>20,
			kibRate(now.Disk.ReadBytes-last.Disk.ReadBytes, took), kibRate(now.Disk.WrittenBytes-last.Disk.WrittenBytes, took),
			kibRate(now.Network.ReceivedBytes-last.Network.ReceivedBytes, took), kibRate(now.Network.SentBytes-last.Network.SentBytes, took))
		last = &now
		return err
	}
}

// rate writes how much of something was done in a second, if there was any time.
func rate(n, seconds float64) string {
	if seconds <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", max(0, n)/seconds)
}

func kibRate(bytes int64, seconds float64) string { return rate(float64(bytes)/1024, seconds) }
