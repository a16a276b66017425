package hostnet

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/coppice-vm/coppice"
)

// What was tampered with in a network, and what is left of one, is told from
// what belongs there; and what is in nobody's way can be erased.
func TestTraces(t *testing.T) {
	makeWorld(t)
	n := open(t, t.TempDir())
	id, half := coppice.NewVMID(), coppice.NewVMID()
	must(t, n.SetUp(t.Context(), id, coppice.EgressOpen))
	t.Cleanup(func() { n.TearDown(t.Context(), id) })
	traces := func() []coppice.Trace {
		t.Helper()
		all, err := n.Traces(t.Context())
		must(t, err)
		return all
	}
	before := traces()

	attrs := netlink.NewLinkAttrs()
	attrs.Name = "cpv39998"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "stray"}))
	t.Cleanup(func() { removeLink("stray") })
	ns, err := openNamespace(n.file(id))
	must(t, err)
	defer ns.Close()
	must(t, inside(ns, func() error {
		attrs.Name = "bypass"
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "bypass2"})
	}))
	for _, name := range []string{"notes", string(half)} {
		must(t, os.WriteFile(filepath.Join(n.Dir, name), nil, 0o600))
	}
	want := []coppice.Trace{
		{Kind: coppice.TraceStray, Name: "cpv39998", Disposable: true},
		{Kind: coppice.TraceStray, Name: filepath.Join(n.Dir, string(id), "bypass"), VM: id, Disposable: true},
		{Kind: coppice.TraceStray, Name: filepath.Join(n.Dir, string(id), "bypass2"), VM: id, Disposable: true},
		{Kind: coppice.TraceStray, Name: filepath.Join(n.Dir, "notes")},
		{Kind: coppice.TraceStray, Name: filepath.Join(n.Dir, string(half)), VM: half},
	}
	found := slices.DeleteFunc(traces(), func(t coppice.Trace) bool { return slices.Contains(before, t) })
	for _, w := range want {
		if !slices.Contains(found, w) {
			t.Errorf("%+v is not among %+v", w, found)
		}
	}
	if len(found) != len(want) {
		t.Errorf("found %+v", found)
	}
	for _, f := range found {
		if err := n.Erase(t.Context(), f); (err == nil) != f.Disposable {
			t.Errorf("erase %+v: %v", f, err)
		}
	}
	must(t, os.Remove(filepath.Join(n.Dir, "notes")))
	must(t, n.TearDown(t.Context(), half))
	if left := traces(); len(left) != len(before) {
		t.Errorf("left are %+v, there were %+v", left, before)
	}

	must(t, inside(ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.DelTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyNetdev})
		return c.Flush()
	}))
	rules := coppice.Trace{Kind: coppice.TraceRules, Name: n.file(id), VM: id}
	if !slices.Contains(before, rules) || slices.Contains(traces(), rules) {
		t.Errorf("rules that are not whole are listed, or whole ones are not: %+v", before)
	}
}
