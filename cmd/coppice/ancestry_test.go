package main

import (
	"bytes"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice/api"
)

func TestDrawTree(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	drawTree(w, []api.TreeNode{
		{ID: "old", State: api.Running, CreatedAt: at(0), Memory: &api.Footprint{OwnBytes: 3 << 19, SharedBytes: 200 << 20}},
		{ID: "twig-1", ParentID: "old", Name: "one", State: api.Suspended, CreatedAt: at(2), Disk: api.Footprint{OwnBytes: 1 << 20}},
		{ID: "twig-2", ParentID: "old", State: api.Running, CreatedAt: at(3)},
		{ID: "shoot", ParentID: "twig-1", State: api.Stopped, CreatedAt: at(4), Deleted: true},
		{ID: "made", ParentID: "sc-1", State: api.Stopped, CreatedAt: at(5)},
		{ID: "other", State: api.Lost, CreatedAt: at(6)},
		{ID: "sc-1", Kind: "snapshot", ParentID: "old", Name: "s", State: "ready", CreatedAt: at(1)},
	})
	w.Flush()
	const want = `old          -    running    1.5  200.0  0.0  0.0
├─ sc-1      s    ready      -    -      0.0  0.0
│  └─ made   -    stopped    -    -      0.0  0.0
├─ twig-1    one  suspended  -    -      1.0  0.0
│  └─ shoot  -    deleted    -    -      0.0  0.0
└─ twig-2    -    running    -    -      0.0  0.0
other        -    lost       -    -      0.0  0.0
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
