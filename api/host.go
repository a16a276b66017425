package api

// A Host is what a host has, and what VMs, of all accounts, take of it.
type Host struct {
	Version           string `json:"version" doc:"Of the daemon"`
	VMM               string `json:"vmm" doc:"What runs the VMs"`
	CPUCount          int    `json:"cpuCount"`
	MemoryMiB         int64  `json:"memoryMib"`
	FreeMemoryMiB     int64  `json:"freeMemoryMib" doc:"What can be taken before anything in use has to make room"`
	StorageMiB        int64  `json:"storageMib" doc:"Of the pool"`
	FreeStorageMiB    int64  `json:"freeStorageMib" doc:"What can still be written there"`
	RunningVMs        int    `json:"runningVms"`
	RunningMemSizeMiB int64  `json:"runningMemSizeMib" doc:"What their guests have in sum"`
	Spares            int    `json:"spares" doc:"VMs restored ahead, for the next creates"`
	SparesWanted      int    `json:"sparesWanted" doc:"How many of them there are to be"`
	Husks             int    `json:"husks" doc:"Processes started ahead, for the next forks"`
	HusksWanted       int    `json:"husksWanted" doc:"How many of them there are to be"`
}

// A Finding is one thing that the doctor looked at.
type Finding struct {
	Name   string `json:"name"`
	Broken bool   `json:"broken"`
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty" doc:"What to do about it; absent if nothing needs doing"`
}

// Findings are all that the doctor looked at.
type Findings struct {
	Findings []Finding `json:"findings" nullable:"false"`
}
