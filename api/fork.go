package api

import "time"

// ForkVM asks for VMs that go on from where one is now.
type ForkVM struct {
	_                  struct{}     `json:"-" additionalProperties:"true"`
	Count              *int         `json:"count,omitempty" minimum:"1" maximum:"100" doc:"How many; 1 by default"`
	Name               *string      `json:"name,omitempty" doc:"Of the forks; with more than one, -1, -2 and so on is appended"`
	Persistence        *Persistence `json:"persistence,omitempty" doc:"The VM's own by default"`
	IdleTimeoutSeconds IdleTimeout  `json:"idleTimeoutSeconds,omitzero" doc:"The VM's own if absent; null is never"`
	Start              *bool        `json:"start,omitempty" doc:"false leaves the forks of a stopped VM stopped; by default they boot"`
}

// Forked answers a fork: the VMs that can be used, and why there are not more.
type Forked struct {
	VMID   string      `json:"vmId" doc:"The VM that was forked"`
	Forks  []Fork      `json:"forks" nullable:"false"`
	Errors []ForkError `json:"errors,omitempty" doc:"What became of the forks that could not be made, one for each"`
}

// A Fork is a VM that a fork has made.
type Fork struct {
	ID         string   `json:"id"`
	Domains    []string `json:"domains" nullable:"false"`
	ConsoleURL *string  `json:"consoleUrl"`
}

// A ForkError says why there is one fork less than was asked for.
type ForkError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// SuspendedVM answers a suspend.
type SuspendedVM struct {
	ID              string `json:"id"`
	VMInstanceID    string `json:"vmInstanceId"`
	SnapshotLayerID string `json:"snapshotLayerId" doc:"What the VM resumes from. It is the VM's own, not a snapshot"`
}

// OptimizedVM answers an optimize.
type OptimizedVM struct {
	ID      string `json:"id"`
	Message string `json:"message" doc:"What was done, or why there was nothing to do"`
}

// TakeSnapshot asks for a snapshot of a VM as it is now.
type TakeSnapshot struct {
	_           struct{}     `json:"-" additionalProperties:"true"`
	Name        *string      `json:"name,omitempty"`
	Persistence *Persistence `json:"persistence,omitempty" doc:"sticky or persistent"`
}

// SnapshotTaken answers a snapshot.
type SnapshotTaken struct {
	SnapshotID         string `json:"snapshotId"`
	SourceVMID         string `json:"sourceVmId"`
	SourceVMInstanceID string `json:"sourceVmInstanceId"`
}

// A Snapshot is what is known about one. There are no snapshots but those that
// are ready: one that could not be taken leaves nothing.
type Snapshot struct {
	SnapshotID         string      `json:"snapshotId"`
	SnapshotIDSnake    string      `json:"snapshot_id" doc:"The same as snapshotId"`
	State              string      `json:"state" enum:"building,ready,failed,cancelled,lost"`
	Name               string      `json:"name,omitempty"`
	AccountID          string      `json:"accountId"`
	SourceVMID         string      `json:"sourceVmId"`
	SourceVMInstanceID string      `json:"sourceVmInstanceId" doc:"The run it was taken of"`
	CreatedAt          time.Time   `json:"createdAt"`
	Failed             bool        `json:"failed"`
	Cancelled          bool        `json:"cancelled"`
	Lost               bool        `json:"lost"`
	Deleted            bool        `json:"deleted" doc:"It is kept only for the VMs that still need it"`
	Persistence        Persistence `json:"snapshotPersistence"`
	VCPUCount          int         `json:"vcpuCount"`
	MemSizeMiB         int64       `json:"memSizeMib"`
	RootfsSizeMB       int64       `json:"rootfsSizeMb" doc:"MiB"`
}

// A SnapshotList is an account's snapshots, oldest first. The counts are of those listed.
type SnapshotList struct {
	Snapshots      []Snapshot `json:"snapshots" nullable:"false"`
	TotalCount     int        `json:"totalCount"`
	BuildingCount  int        `json:"buildingCount"`
	ReadyCount     int        `json:"readyCount"`
	FailedCount    int        `json:"failedCount"`
	CancelledCount int        `json:"cancelledCount"`
	LostCount      int        `json:"lostCount"`
	DeletedCount   int        `json:"deletedCount"`
}

// UpdateSnapshot changes what is there.
type UpdateSnapshot struct {
	_    struct{} `json:"-" additionalProperties:"true"`
	Name *string  `json:"name,omitempty" doc:"May be empty; absent leaves it as it is"`
}

// UpdatedSnapshot answers a change.
type UpdatedSnapshot struct {
	SnapshotID      string `json:"snapshotId"`
	SnapshotIDSnake string `json:"snapshot_id" doc:"The same as snapshotId"`
	Name            string `json:"name"`
}

// DeletedSnapshot answers a delete.
type DeletedSnapshot struct {
	SnapshotID      string `json:"snapshotId"`
	SnapshotIDSnake string `json:"snapshot_id" doc:"The same as snapshotId"`
}
