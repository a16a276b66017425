package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// Histories is the part of [VMs] that has to do with what happened to them.
type Histories interface {
	// VMHistory lists what happened to a VM after the event of that number,
	// oldest first; if it is 0, the last of it. A VM that was deleted has one too.
	VMHistory(ctx context.Context, account coppice.AccountID, id coppice.VMID, after int64) ([]coppice.Event, error)
	// Events lists what happened to all VMs of an account after the event of that
	// number, oldest first; maybe not to the end.
	Events(ctx context.Context, account coppice.AccountID, after int64) ([]coppice.Event, error)
	// LastEvent returns the number of the last event of an account; 0 if there is none.
	LastEvent(ctx context.Context, account coppice.AccountID) (int64, error)
	// News returns a channel that is closed when there is another event.
	News() <-chan struct{}
}

type historyInput struct {
	VMID  string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	After int64  `query:"after" minimum:"0" doc:"Only what came after the event of this id; the last 1000 events if absent"`
}

func (s *Server) vmHistory(ctx context.Context, who caller, in *historyInput) (api.History, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.History{}, err
	}
	events, err := s.config.VMs.VMHistory(ctx, who.Account, id, in.After)
	history := api.History{VMID: string(id), Events: []api.Event{}}
	for i := range events {
		history.Events = append(history.Events, shapeEvent(&events[i]))
	}
	return history, err
}

// events sends what happens to an account's VMs, as it happens, until the client
// leaves: server-sent events, from the one after Last-Event-ID on, else from now.
func (s *Server) events(w http.ResponseWriter, r *http.Request, who caller) error {
	ctx, cancel := s.whileServing(r.Context())
	defer cancel()
	last, err := s.firstEvent(ctx, who.Account, r.Header.Get(api.HeaderLastEvent))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	heartbeat := time.NewTicker(heartbeatInterval)
	defer heartbeat.Stop()
	err = writeLine(w, []byte(":\n"))
	for err == nil {
		news := s.config.VMs.News()
		var events []coppice.Event
		if events, err = s.config.VMs.Events(ctx, who.Account, last); err != nil {
			break
		}
		if len(events) > 0 {
			last = events[len(events)-1].Seq
			err = writeEvents(w, events)
			continue
		}
		select {
		case <-news:
		case <-heartbeat.C:
			err = writeLine(w, []byte(":\n"))
		case <-ctx.Done():
			return endOf(ctx, ctx.Err())
		}
	}
	return err
}

// firstEvent returns the number of the event after which a stream begins.
func (s *Server) firstEvent(ctx context.Context, account coppice.AccountID, given string) (int64, error) {
	if given == "" {
		return s.config.VMs.LastEvent(ctx, account)
	}
	n, err := strconv.ParseInt(given, 10, 64)
	if err != nil || n < 0 {
		return 0, coppice.Errorf(coppice.CodeInvalidRequest, "%s is the id of an event, a number; not %q", api.HeaderLastEvent, given)
	}
	return n, nil
}

func writeEvents(w http.ResponseWriter, events []coppice.Event) error {
	var b bytes.Buffer
	for i := range events {
		e := shapeEvent(&events[i])
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Event, data)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

func shapeEvent(e *coppice.Event) api.Event {
	out := api.Event{
		ID: e.Seq, At: e.At.UTC(), VMID: string(e.VM), Event: nameOf(e), Reason: e.Reason,
		TookMs: float64(e.Took.Microseconds()) / 1000,
	}
	if e.State != coppice.Absent {
		out.State = stateOf(e.State, coppice.Idle)
	}
	return out
}

// done is what a verb has done, in the words of users.
var done = map[coppice.Verb]string{
	coppice.Idle:    "found",
	coppice.Restore: "created",
	coppice.Start:   "started",
	coppice.Resume:  "resumed",
	coppice.Suspend: "suspended",
	coppice.Cut:     "captured",
	coppice.Stop:    "stopped",
	coppice.Kill:    "stopped",
	coppice.Reboot:  "rebooted",
	coppice.Resize:  "resized",
	coppice.Delete:  "deleted",
}

func nameOf(e *coppice.Event) string {
	switch {
	case e.State == coppice.Failed:
		return "lost"
	case e.Failed && e.Verb == coppice.Restore:
		return "create-failed"
	case e.Failed:
		return string(e.Verb) + "-failed"
	}
	return done[e.Verb]
}
