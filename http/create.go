package http

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

type createInput struct {
	Body    api.CreateVM
	RawBody []byte
}

func (s *Server) createVM(ctx context.Context, who caller, in *createInput) (api.Created, error) {
	if err := refuseUnbuilt(in.RawBody); err != nil {
		return api.Created{}, err
	}
	spec, err := newVM(&in.Body)
	if err != nil {
		return api.Created{}, err
	}
	spec.Account = who.Account
	domains := domainsOf(&in.Body)
	if err := s.checkDomains(ctx, who, domains); err != nil {
		return api.Created{}, err
	}
	vm, err := s.config.VMs.Create(ctx, spec)
	if err != nil {
		return api.Created{}, err
	}
	created := api.Created{ID: string(vm.ID)}
	if created.Domains, err = s.mapDomains(ctx, who, vm.ID, domains); err != nil {
		return api.Created{}, err
	}
	if vm.Snapshot != "" {
		created.SnapshotID = new(string(vm.Snapshot))
	}
	return created, nil
}

// unbuilt are the members of a create that this host cannot honour, and what to
// do instead. They may be there, but must be empty: the npm client's CLI sends
// "aptDeps":[].
var unbuilt = map[string]string{
	"additionalFiles":   "write the files when the VM runs",
	"aptDeps":           "run apt-get install in the VM",
	"baseImage":         "start from the host's image",
	"dockerCredentials": "start from the host's image",
	"git":               "run git clone in the VM",
	"gitRepos":          "run git clone in the VM",
	"groups":            "run groupadd in the VM",
	"nics":              "leave it out",
	"ports":             "leave it out",
	"recreate":          "leave it out",
	"snapshot":          "set the VM up when it runs",
	"systemd":           "write the units when the VM runs",
	"udpHolePunchPorts": "leave it out",
	"users":             "run useradd in the VM",
	"workdir":           "change directory in the commands",
}

// refuseUnbuilt returns an error if the body of a create asks for what is not
// offered: nobody should find out later that it was ignored.
func refuseUnbuilt(body []byte) error {
	var top map[string]any
	if len(bytes.TrimSpace(body)) == 0 || json.Unmarshal(body, &top) != nil {
		return nil // {}, or something that has been refused already
	}
	for _, place := range []string{"spec", "template", ""} {
		members, prefix := top, ""
		if place != "" {
			members, _ = top[place].(map[string]any)
			prefix = place + "."
		}
		for _, name := range slices.Sorted(maps.Keys(unbuilt)) {
			if !empty(members[name]) {
				return badCreate("this host does not offer %s%s yet: %s", prefix, name, unbuilt[name])
			}
		}
	}
	return nil
}

// empty reports whether a JSON value asks for nothing.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case float64:
		return v == 0
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, member := range v {
			if !empty(member) {
				return false
			}
		}
		return true
	}
	return false
}

// newVM returns what a create asks for. Whether the host can give it is for
// others to say.
func newVM(body *api.CreateVM) (coppice.NewVM, error) {
	s := pick(body)
	var vm coppice.NewVM
	if s.Name != nil {
		vm.Name = *s.Name
	}
	var err error
	if s.SnapshotID != nil {
		if vm.Snapshot, err = parseSnapshotID(*s.SnapshotID); err != nil {
			return vm, err
		}
	}
	if vm.IdleTimeout, err = idleTimeout(s.IdleTimeoutSeconds, coppice.CodeCreateBadRequest); err != nil {
		return vm, err
	}
	vm.ActivityBytes = s.ActivityThresholdBytes
	if vm.Persistence, err = persistence(s.Persistence, coppice.CodeCreateBadRequest); err != nil {
		return vm, err
	}
	if vm.Egress, err = parseEgress(s.Egress, coppice.CodeCreateBadRequest); err != nil {
		return vm, err
	}
	vm.Private = s.Private != nil && *s.Private
	if s.VCPUCount != nil {
		if *s.VCPUCount <= 0 {
			return vm, badCreate("vcpuCount is a power of two, 1 or more; not %d", *s.VCPUCount)
		}
		vm.Size.VCPUs = *s.VCPUCount
	}
	if vm.Size.MemoryMiB, err = mib("memSizeGb", s.MemSizeGb); err != nil {
		return vm, err
	}
	vm.Size.DiskMiB, err = mib("rootfsSizeGb", s.RootfsSizeGb)
	return vm, err
}

// pick returns each member from the first place that has it.
func pick(body *api.CreateVM) api.VMSpec {
	var out api.VMSpec
	for _, s := range []*api.VMSpec{body.Spec, body.Template, &body.VMSpec} {
		if s == nil {
			continue
		}
		out.Name = first(out.Name, s.Name)
		out.SnapshotID = first(out.SnapshotID, s.SnapshotID)
		out.VCPUCount = first(out.VCPUCount, s.VCPUCount)
		out.MemSizeGb = first(out.MemSizeGb, s.MemSizeGb)
		out.RootfsSizeGb = first(out.RootfsSizeGb, s.RootfsSizeGb)
		out.Egress = first(out.Egress, s.Egress)
		out.Private = first(out.Private, s.Private)
		out.Persistence = first(out.Persistence, s.Persistence)
		out.ActivityThresholdBytes = first(out.ActivityThresholdBytes, s.ActivityThresholdBytes)
		if !out.IdleTimeoutSeconds.Set {
			out.IdleTimeoutSeconds = s.IdleTimeoutSeconds
		}
	}
	return out
}

// domainsOf returns the host names that are to lead to a new VM.
func domainsOf(body *api.CreateVM) []api.Domain {
	for _, s := range []*api.VMSpec{body.Spec, body.Template, &body.VMSpec} {
		if s != nil && s.Domains != nil {
			return s.Domains
		}
	}
	return nil
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// mib converts GiB, of which a part may be asked for. 0 is the host's default.
func mib(name string, gib *float64) (int64, error) {
	const most = 1 << 40 // keeps the product exact
	if gib == nil {
		return 0, nil
	}
	n := *gib * 1024
	if !(n >= 1 && n <= most) || n != math.Trunc(n) {
		return 0, badCreate("%s is a number of GiB that is a whole number of MiB, 1 or more; not %v", name, *gib)
	}
	return int64(n), nil
}

const defaultPriority = 5 // as the contract documents it

// persistence returns a persistence as the root has it; code is that of its errors.
func persistence(p *api.Persistence, code coppice.Code) (coppice.Persistence, error) {
	if p == nil {
		return coppice.Persistence{}, nil
	}
	out := coppice.Persistence{Type: coppice.PersistenceType(p.Type)}
	if p.Priority != nil && out.Type != coppice.Sticky {
		return out, coppice.Errorf(code, "persistence.priority goes with type sticky only, not %s", p.Type)
	}
	if p.DeleteEvent != nil && out.Type != coppice.Ephemeral {
		return out, coppice.Errorf(code, "persistence.deleteEvent goes with type ephemeral only, not %s", p.Type)
	}
	switch out.Type {
	case coppice.Sticky:
		out.Priority = defaultPriority
		if p.Priority != nil {
			out.Priority = *p.Priority
		}
	case coppice.Ephemeral:
		// What reclaims a VM suspends it; a stop was asked for, and may be followed by a start.
		out.DeleteEvent = coppice.OnSuspend
		if p.DeleteEvent != nil {
			out.DeleteEvent = coppice.DeleteEvent(*p.DeleteEvent)
		}
	}
	return out, nil
}

func badCreate(format string, args ...any) error {
	return coppice.Errorf(coppice.CodeCreateBadRequest, format, args...)
}
