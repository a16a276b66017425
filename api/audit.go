package api

// An Audit is how what the host has differs from what the store says.
type Audit struct {
	Discrepancies []Discrepancy `json:"discrepancies" nullable:"false"`
}

// A Discrepancy is one thing that there is too much, or that is missing.
type Discrepancy struct {
	Missing    bool   `json:"missing" doc:"Else it is too much"`
	Kind       string `json:"kind" doc:"What it is: process, record, socket, log, user, control group, disk, memory, device state, row, image, unfinished, network namespace, tap, rules, uplink, stray"`
	Name       string `json:"name,omitempty" doc:"What the host knows it by"`
	VMID       string `json:"vmId,omitempty" doc:"Whose it is"`
	SnapshotID string `json:"snapshotId,omitempty" doc:"The capture whose it is, a snapshot's or another"`
	Text       string `json:"text" doc:"What is wrong"`
	Fix        string `json:"fix" doc:"What mends it"`
	Repairable bool   `json:"repairable" doc:"A repair mends it without harm"`
	Repaired   bool   `json:"repaired" doc:"This one has"`
	Error      string `json:"error,omitempty" doc:"Why a repair did not work"`
}
