package api

import "time"

// An Event is something that was done to a VM, or happened to it.
type Event struct {
	ID     int64     `json:"id" doc:"Larger than that of every earlier event"`
	At     time.Time `json:"at"`
	VMID   string    `json:"vmId"`
	Event  string    `json:"event" doc:"created, started, resumed, suspended, captured, stopped, rebooted, resized, deleted, lost, found (nothing was done: a daemon that started found it, or a guest waits for space in the pool, or goes on); or what failed: create-failed, start-failed, ..."`
	State  State     `json:"state,omitempty" doc:"The VM's from then on; absent if it is not there any more"`
	Reason string    `json:"reason,omitempty" doc:"Why it happened, if nobody asked for it, or why it failed"`
	TookMs float64   `json:"tookMs"`
}

// A History is what happened to a VM, oldest first.
type History struct {
	VMID   string  `json:"vmId"`
	Events []Event `json:"events" nullable:"false"`
}

// HeaderLastEvent of a stream of events is the id of the last one that the
// client has: the stream goes on after it.
const HeaderLastEvent = "Last-Event-ID"
