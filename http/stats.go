package http

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// How often a stream of stats has some, unless the client says; what it says is
// brought between the bounds.
const (
	statsInterval    = time.Second
	minStatsInterval = 100 * time.Millisecond
	maxStatsInterval = 10 * time.Second
)

// stats sends what a VM takes of the host again and again, as server-sent
// events, until the client leaves or the VM is deleted.
func (s *Server) stats(w http.ResponseWriter, r *http.Request, who caller) error {
	id, err := parseVMID(r.PathValue("vm_id"))
	if err != nil {
		return err
	}
	every, err := parseStatsInterval(r.URL.Query().Get("interval_ms"))
	if err != nil {
		return err
	}
	ctx, cancel := s.whileServing(r.Context())
	defer cancel()
	stats, err := s.config.VMs.Stats(ctx, who.Account, id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := writeStats(w, &stats); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return endOf(ctx, ctx.Err())
		}
		switch stats, err = s.config.VMs.Stats(ctx, who.Account, id); {
		case err == nil:
		case coppice.CodeOf(err) == coppice.CodeVMDeleted:
			return nil
		default:
			return endOf(ctx, err)
		}
	}
}

// streamsStats documents a stream of what a VM takes of the host.
func streamsStats(s *Server, op *huma.Operation) {
	op.Description = "The data of each event, whose name is stats, is a " + schemaOf[api.Stats](s).Ref + ". The first comes at once. The stream " +
		"ends when the VM is deleted; it goes on while the VM sleeps, and keeps none awake."
	op.Parameters = append(op.Parameters, &huma.Param{Name: "interval_ms", In: "query",
		Description: "Time between two events, brought between 100 and 10000; 1000 if absent", Schema: &huma.Schema{Type: "integer"}})
	returns("text/event-stream")(s, op)
}

func parseStatsInterval(given string) (time.Duration, error) {
	if given == "" {
		return statsInterval, nil
	}
	ms, err := strconv.ParseInt(given, 10, 32)
	if err != nil {
		return 0, coppice.Errorf(coppice.CodeInvalidRequest, "interval_ms is a number of milliseconds from 100 to 10000; not %q", given)
	}
	return min(max(time.Duration(ms)*time.Millisecond, minStatsInterval), maxStatsInterval), nil
}

func writeStats(w http.ResponseWriter, stats *coppice.Stats) error {
	data, err := json.Marshal(shapeStats(stats))
	if err != nil {
		return err
	}
	return writeLine(w, fmt.Appendf(nil, "event: stats\ndata: %s\n", data))
}

func shapeStats(s *coppice.Stats) api.Stats {
	const mib = 1 << 20
	vm := shape(&s.VM)
	out := api.Stats{VMID: vm.ID, At: s.At.UTC(), State: vm.State, InstanceID: string(s.VM.Instance)}
	out.CPU.Count, out.CPU.UsedSeconds = s.VM.Size.VCPUs, s.Work.CPU.Seconds()
	out.Memory.SizeBytes, out.Memory.Footprint = s.VM.Size.MemoryMiB*mib, api.Footprint{OwnBytes: s.Memory.Own, SharedBytes: s.Memory.Shared}
	out.Disk.SizeBytes, out.Disk.Footprint = s.VM.Size.DiskMiB*mib, api.Footprint{OwnBytes: s.Disk.Own, SharedBytes: s.Disk.Shared}
	out.Disk.ReadBytes, out.Disk.WrittenBytes = s.Work.Read, s.Work.Written
	out.Network.SentBytes, out.Network.ReceivedBytes = s.Traffic.Sent, s.Traffic.Received
	return out
}
