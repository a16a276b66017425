package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/coppice-vm/coppice"
)

// Traces implements [coppice.Inspector]. Links of the host that lead to networks
// of another directory are that one's.
func (n *Network) Traces(ctx context.Context) ([]coppice.Trace, error) {
	files, err := os.ReadDir(n.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var traces []coppice.Trace
	for _, file := range files {
		here, err := n.inspect(file.Name())
		if err != nil {
			return nil, fmt.Errorf("look at the network of %s: %w", file.Name(), err)
		}
		traces = append(traces, here...)
	}
	host, err := hostTraces()
	return append(traces, host...), err
}

// inspect lists what there is of the network that the file of that name keeps.
func (n *Network) inspect(name string) ([]coppice.Trace, error) {
	file := filepath.Join(n.Dir, name)
	t := coppice.Trace{Kind: coppice.TraceStray, Name: file}
	if t.VM = coppice.VMID(name); !t.VM.Valid() {
		t.VM = ""
		return []coppice.Trace{t}, nil
	}
	ns, err := openNamespace(file)
	if errors.Is(err, coppice.ErrNoNetwork) {
		if _, err := os.Lstat(file); err != nil {
			return nil, nil // it has gone meanwhile
		}
		return []coppice.Trace{t}, nil
	}
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	t.Kind = coppice.TraceNamespace
	traces := []coppice.Trace{t}
	err = inside(ns, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, link := range links {
			if link := linkTrace(t, link.Attrs().Name); link.Kind != "" {
				traces = append(traces, link)
			}
		}
		whole, err := fenced()
		if whole {
			t.Kind = coppice.TraceRules
			traces = append(traces, t)
		}
		return err
	})
	return traces, err
}

// linkTrace is the trace of a link in the namespace of which ns is one; none is
// of what every namespace has.
func linkTrace(ns coppice.Trace, link string) coppice.Trace {
	t := ns
	t.Name = filepath.Join(ns.Name, link)
	switch link {
	case "lo":
		return coppice.Trace{}
	case tapName:
		t.Kind = coppice.TraceTap
	case uplinkName:
		t.Kind = coppice.TraceUplink
	default:
		t.Kind, t.Disposable = coppice.TraceStray, true
	}
	return t
}

// fenced reports whether the rules of [fence] are in place in the namespace of
// the thread.
func fenced() (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, err
	}
	chains, err := c.ListChains()
	there := map[string]bool{}
	for _, chain := range chains {
		if chain.Table.Name == tableName {
			there[chain.Name] = true
		}
	}
	return there["ingress"] && there["input"] && there["forward"] && there["postrouting"], err
}

// hostTraces lists the rules of the host, if they are in place, and the links
// that are like the ends of uplinks on the host, but are of no network that
// anybody keeps.
func hostTraces() ([]coppice.Trace, error) {
	var traces []coppice.Trace
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	if there, err := received(c); err != nil {
		return nil, err
	} else if there {
		traces = append(traces, coppice.Trace{Kind: coppice.TraceRules, Name: "table inet " + tableName})
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	kept, err := keptNamespaces() // after the links: a network is kept before it has one
	for _, link := range links {
		if a := link.Attrs(); strings.HasPrefix(a.Name, hostPrefix) && !kept[a.NetNsID] {
			traces = append(traces, coppice.Trace{Kind: coppice.TraceStray, Name: a.Name, Disposable: true})
		}
	}
	return traces, err
}

// keptNamespaces returns the numbers by which this namespace knows the network
// namespaces that files keep, whoever's.
func keptNamespaces() (map[int]bool, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	kept := map[int]bool{}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line) // see proc_pid_mountinfo(5)
		if len(fields) < 5 || !strings.HasPrefix(fields[3], "net:[") {
			continue
		}
		ns, err := os.Open(mountEscape.Replace(fields[4]))
		if err != nil {
			continue // it has gone meanwhile, or is out of sight
		}
		if number, err := netlink.GetNetNsIdByFd(int(ns.Fd())); err == nil && number >= 0 {
			kept[number] = true
		}
		ns.Close()
	}
	return kept, nil
}

// mountEscape undoes the escapes of mountinfo.
var mountEscape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Erase implements [coppice.Eraser].
func (n *Network) Erase(ctx context.Context, t coppice.Trace) error {
	switch {
	case t.Kind != coppice.TraceStray || !t.Disposable:
	case t.VM != "":
		return n.eraseLink(t.VM, filepath.Base(t.Name))
	case strings.HasPrefix(t.Name, hostPrefix):
		return removeLink(t.Name)
	}
	return fmt.Errorf("erase %s: that is nothing the network may remove", t.Name)
}

// eraseLink removes a link of a VM's network, if there is one.
func (n *Network) eraseLink(id coppice.VMID, name string) error {
	err := n.inside(id, func() error { return removeLink(name) })
	if errors.Is(err, coppice.ErrNoNetwork) {
		return nil
	}
	return err
}
