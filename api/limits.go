package api

// Limits are what an account may have at a time, and what it has of it.
type Limits struct {
	Limits AccountLimits `json:"limits" doc:"null is no limit"`
	Usage  AccountUsage  `json:"usage"`
}

// AccountLimits are the most that an account may have. nil is no limit.
type AccountLimits struct {
	VMs             *int64 `json:"vms" doc:"In whatever state"`
	RunningVMs      *int64 `json:"runningVms"`
	VCPUCountPerVM  *int64 `json:"vcpuCountPerVm"`
	MemSizeMiBPerVM *int64 `json:"memSizeMibPerVm"`
	RootfsSizePerVM *int64 `json:"rootfsSizeMbPerVm" doc:"MiB"`
	VCPUCount       *int64 `json:"vcpuCount" doc:"Of the VMs that run"`
	MemSizeMiB      *int64 `json:"memSizeMib" doc:"Of the VMs that run"`
	RootfsSizeMB    *int64 `json:"rootfsSizeMb" doc:"MiB, of all VMs"`
	Snapshots       *int64 `json:"snapshots"`
	PTYsPerVM       *int64 `json:"ptysPerVm" doc:"Terminal sessions"`
}

// AccountUsage is what an account has.
type AccountUsage struct {
	VMs          int64 `json:"vms" doc:"In whatever state"`
	RunningVMs   int64 `json:"runningVms" doc:"Those too that are on their way to running"`
	VCPUCount    int64 `json:"vcpuCount" doc:"Of the VMs that run"`
	MemSizeMiB   int64 `json:"memSizeMib" doc:"Of the VMs that run"`
	RootfsSizeMB int64 `json:"rootfsSizeMb" doc:"MiB, of all VMs"`
	Snapshots    int64 `json:"snapshots"`
}
