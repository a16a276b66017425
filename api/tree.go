package api

import "time"

// A Tree is where an account's VMs and snapshots come from, and what they take
// of the host. Parents are in it, too, also those that have been deleted.
type Tree struct {
	Nodes []TreeNode `json:"nodes" nullable:"false" doc:"VMs, then snapshots, oldest first"`
}

// A TreeNode is a VM or a snapshot.
type TreeNode struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind" enum:"vm,snapshot"`
	ParentID  string     `json:"parentId,omitempty" doc:"The VM that it was forked or taken from, or the snapshot that it was created from"`
	Name      string     `json:"name,omitempty"`
	State     State      `json:"state" enum:"building,starting,running,suspending,suspended,stopped,lost,ready"`
	Deleted   bool       `json:"deleted" doc:"Something still comes from it"`
	CreatedAt time.Time  `json:"createdAt"`
	Memory    *Footprint `json:"memory,omitempty" doc:"Of the process of a VM that has one"`
	Disk      Footprint  `json:"disk" doc:"What is stored of it, the memory of a suspended VM or of a snapshot too"`
}

// A Footprint is what something takes of the host.
type Footprint struct {
	OwnBytes    int64 `json:"ownBytes" doc:"What nothing else has: what would be free without it"`
	SharedBytes int64 `json:"sharedBytes" doc:"What it has in common with others"`
}
