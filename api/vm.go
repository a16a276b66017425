package api

import (
	"encoding/json"
	"time"
)

// A State is what a VM is doing, as a user sees it.
type State string

const (
	Building   State = "building"
	Starting   State = "starting"
	Running    State = "running"
	Suspending State = "suspending"
	Suspended  State = "suspended"
	Stopped    State = "stopped"
	Lost       State = "lost"
)

// A Lifecycle is what may be asked of VMs.
type Lifecycle struct {
	Steps []Step `json:"steps" nullable:"false"`
}

// A Step is what may be asked of a VM in a state, and where that leads.
type Step struct {
	Ask   string `json:"ask" enum:"start,suspend,stop,kill,resize,fork,snapshot,delete"`
	From  State  `json:"from" enum:"running,suspended,stopped,lost"`
	Works State  `json:"works,omitempty" enum:"running,suspended,stopped" doc:"The VM's state if it works; absent if it is not there any more then"`
	Fails State  `json:"fails" enum:"running,suspended,stopped,lost" doc:"The VM's state if it does not"`
}

// CreateVM asks for a new VM. Where a member is given in more than one place,
// Spec wins over Template, and Template over the top level.
type CreateVM struct {
	VMSpec
	Spec     *VMSpec `json:"spec,omitempty"`
	Template *VMSpec `json:"template,omitempty"`
}

// A VMSpec says what a VM is like. What is absent is the host's default.
type VMSpec struct {
	_                  struct{}    `json:"-" additionalProperties:"true"`
	Name               *string     `json:"name,omitempty"`
	SnapshotID         *string     `json:"snapshotId,omitempty" doc:"Snapshot to start from; absent is the host's image"`
	VCPUCount          *int        `json:"vcpuCount,omitempty" doc:"A power of two"`
	MemSizeGb          *float64    `json:"memSizeGb,omitempty" doc:"GiB of memory; in MiB a power of two"`
	RootfsSizeGb       *float64    `json:"rootfsSizeGb,omitempty" doc:"GiB of root disk"`
	IdleTimeoutSeconds IdleTimeout `json:"idleTimeoutSeconds,omitzero" doc:"Seconds without activity after which the VM is reclaimed: deleted if it is ephemeral, suspended otherwise; null is never"`

	ActivityThresholdBytes *int64 `json:"activityThresholdBytes,omitempty" minimum:"0" doc:"Bytes of traffic in 10 seconds from which on they count as activity. 1024 by default"`

	Egress      *string      `json:"egress,omitempty" doc:"What the VM may reach: open, closed, or a list of networks and names; absent is the host's default"`
	Private     *bool        `json:"private,omitempty" doc:"What the VM serves on the web is for those only who may use it, and show a key or token"`
	Persistence *Persistence `json:"persistence,omitempty"`

	Domains []Domain `json:"domains,omitempty" doc:"Host names that are to lead to the VM"`
}

// An IdleTimeout is a member that may be absent, null or a number of seconds,
// all different: the zero value leaves things as they are.
type IdleTimeout struct {
	Set     bool     // the member is there
	Seconds *float64 // nil is null: never
}

// IsZero reports whether the member is absent.
func (t IdleTimeout) IsZero() bool { return !t.Set }

func (t IdleTimeout) MarshalJSON() ([]byte, error) { return json.Marshal(t.Seconds) }

func (t *IdleTimeout) UnmarshalJSON(b []byte) error {
	t.Set, t.Seconds = true, nil
	return json.Unmarshal(b, &t.Seconds)
}

// Persistence says what may happen to a VM that nobody uses.
type Persistence struct {
	_           struct{} `json:"-" additionalProperties:"true"`
	Type        string   `json:"type" enum:"sticky,persistent,ephemeral"`
	Priority    *int     `json:"priority,omitempty" minimum:"0" maximum:"10" doc:"Of a sticky VM: higher is evicted later. 5 by default"`
	DeleteEvent *string  `json:"deleteEvent,omitempty" enum:"OnStop,OnSuspend" doc:"Of an ephemeral VM: the event that deletes it"`
}

// Created answers a create.
type Created struct {
	ID         string   `json:"id"`
	Domains    []string `json:"domains" nullable:"false"`
	SnapshotID *string  `json:"snapshotId"`
	ConsoleURL *string  `json:"consoleUrl"`
}

// StartVM asks a VM to run.
type StartVM struct {
	_                  struct{}    `json:"-" additionalProperties:"true"`
	IdleTimeoutSeconds IdleTimeout `json:"idleTimeoutSeconds,omitzero" doc:"From now on; null is never, absent leaves it as it is"`

	ActivityThresholdBytes *int64 `json:"activityThresholdBytes,omitempty" minimum:"0" doc:"From now on; absent leaves it as it is"`
}

// Started answers a start.
type Started struct {
	ID         string   `json:"id"`
	Domains    []string `json:"domains" nullable:"false"`
	ConsoleURL *string  `json:"console_url"`
}

// ResizeVM asks for another size. What is absent stays as it is.
type ResizeVM struct {
	_             struct{} `json:"-" additionalProperties:"true"`
	VCPUCount     *int     `json:"vcpuCount,omitempty" doc:"A power of two"`
	MemSizeGb     *float64 `json:"memSizeGb,omitempty" doc:"GiB of memory; in MiB a power of two"`
	RootfsSizeGb  *float64 `json:"rootfsSizeGb,omitempty" doc:"GiB of root disk, no less than it has; rounded up to whole MiB"`
	DiscardMemory *bool    `json:"discardMemory,omitempty" doc:"Let a suspended VM lose the memory it was to go on with; it is stopped then. Without it that is refused"`
}

// StoppedVM answers a stop.
type StoppedVM struct {
	VMID         string `json:"vmId"`
	VMInstanceID string `json:"vmInstanceId"`
}

// KilledVM answers a kill.
type KilledVM struct {
	ID string `json:"id"`
}

// DeletedVM answers a delete.
type DeletedVM struct {
	ID       string `json:"id"`
	Recreate bool   `json:"recreate"`
}

// Exited says how a run ended.
type Exited struct {
	ID         string `json:"id"`
	ExitStatus string `json:"exitStatus" doc:"poweroff, reboot, panic, killed or crash"`
	Detail     string `json:"detail,omitempty" doc:"What is known about it, in a sentence"`
}

// A VM is what is known about one.
type VM struct {
	ID                 string       `json:"id"`
	Name               string       `json:"name,omitempty"`
	State              State        `json:"state" enum:"building,starting,running,suspending,suspended,stopped,lost"`
	Reason             string       `json:"reason,omitempty" doc:"Why it is in that state, when nobody asked for it"`
	Sizing             Sizing       `json:"sizing"`
	Persistence        *Persistence `json:"persistence,omitempty"`
	IdleTimeoutSeconds *float64     `json:"idleTimeoutSeconds" doc:"null is never"`

	ActivityThresholdBytes int64      `json:"activityThresholdBytes"`
	LastNetworkActivity    *time.Time `json:"lastNetworkActivity,omitempty" doc:"When it was last active"`
	ReclaimAt              *time.Time `json:"reclaimAt,omitempty" doc:"When it is reclaimed if it is not active before; absent if it is not to be"`

	Private      bool      `json:"private" doc:"What it serves on the web is for those only who may use it"`
	SnapshotID   string    `json:"snapshotId,omitempty" doc:"What it was created from"`
	VMInstanceID string    `json:"vmInstanceId,omitempty" doc:"The current run, or the last one"`
	CreatedAt    time.Time `json:"createdAt"`
	Deleted      bool      `json:"deleted"`
	Recreate     bool      `json:"recreate"`
}

// Sizing is what a VM has of the host.
type Sizing struct {
	VCPUCount    int   `json:"vcpuCount"`
	MemSizeMiB   int64 `json:"memSizeMib"`
	RootfsSizeMB int64 `json:"rootfsSizeMb" doc:"MiB"`
}

// A VMList is some of an account's VMs. The counts are of all VMs that match
// the query, whatever its limit and offset; a deleted VM counts in TotalCount only.
type VMList struct {
	VMs             []VM `json:"vms" nullable:"false"`
	TotalCount      int  `json:"totalCount"`
	RunningCount    int  `json:"runningCount"`
	StartingCount   int  `json:"startingCount"`
	SuspendingCount int  `json:"suspendingCount"`
	SuspendedCount  int  `json:"suspendedCount"`
	StoppedCount    int  `json:"stoppedCount"`
	LostCount       int  `json:"lostCount"`
	BuildingCount   int  `json:"buildingCount"`
}
