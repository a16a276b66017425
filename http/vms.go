package http

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// vmInput is a request about one VM.
type vmInput struct {
	VMID string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
}

// parseVMID returns an error if there can be no VM of that id.
func parseVMID(s string) (coppice.VMID, error) {
	id := coppice.VMID(s)
	if !id.Valid() {
		const details = "a VM's id is 20 characters of a-z and 0-9"
		return "", coppice.Errorf(coppice.CodeInvalidVMID, "%q is not the id of a VM: %s", s, details).With("vmId", s).With("details", details)
	}
	return id, nil
}

// presentVM returns the id of one of the caller's VMs, which has not been deleted.
func (s *Server) presentVM(ctx context.Context, who caller, ref string) (coppice.VMID, error) {
	id, err := parseVMID(ref)
	if err != nil {
		return "", err
	}
	vm, err := s.config.VMs.VM(ctx, who.Account, id)
	if err == nil && vm.Deleted() {
		err = coppice.Errorf(coppice.CodeVMDeleted, "VM %s has been deleted", id).With("vmId", id)
	}
	return id, err
}

func (s *Server) health(w http.ResponseWriter, r *http.Request, _ caller) error {
	if s.leaving.Err() != nil {
		return errLeaving
	}
	if err := s.config.Ready(r.Context()); err != nil {
		return coppice.Errorf(coppice.CodeUnavailable, "the daemon is not ready yet: %s", err)
	}
	return writeJSON(w, api.Health{Status: "ok", Version: s.config.Version})
}

func (s *Server) whoAmI(ctx context.Context, who caller, _ *struct{}) (api.WhoAmI, error) {
	return api.WhoAmI{AccountID: string(who.Account), IdentityID: string(who.Identity)}, nil
}

func (s *Server) getVM(ctx context.Context, who caller, in *vmInput) (api.VM, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.VM{}, err
	}
	vm, err := s.config.VMs.VM(ctx, who.Account, id)
	if err != nil {
		return api.VM{}, err
	}
	return shape(&vm), nil
}

// lifecycle says what may be asked of VMs.
func (s *Server) lifecycle(context.Context, caller, *struct{}) (api.Lifecycle, error) {
	out := api.Lifecycle{Steps: []api.Step{}}
	for _, w := range s.config.VMs.Ways() {
		step := api.Step{Ask: w.Ask, From: stateOf(w.From, coppice.Idle), Fails: stateOf(w.Fails, coppice.Idle)}
		if w.Works != coppice.Absent {
			step.Works = stateOf(w.Works, coppice.Idle)
		}
		out.Steps = append(out.Steps, step)
	}
	return out, nil
}

type startInput struct {
	VMID string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	Body api.StartVM
}

func (s *Server) startVM(ctx context.Context, who caller, in *startInput) (api.Started, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.Started{}, err
	}
	timeout, err := idleTimeout(in.Body.IdleTimeoutSeconds, coppice.CodeInvalidRequest)
	if err != nil {
		return api.Started{}, err
	}
	vm, err := s.config.VMs.Start(ctx, who.Account, id, coppice.StartOptions{
		IdleTimeout: timeout, ActivityBytes: in.Body.ActivityThresholdBytes,
	})
	if err != nil {
		return api.Started{}, err
	}
	return api.Started{ID: string(vm.ID), Domains: []string{}}, nil
}

func (s *Server) stopVM(ctx context.Context, who caller, in *vmInput) (api.StoppedVM, error) {
	vm, err := change(ctx, who, in, s.config.VMs.Stop)
	return api.StoppedVM{VMID: string(vm.ID), VMInstanceID: string(vm.Instance)}, err
}

func (s *Server) killVM(ctx context.Context, who caller, in *vmInput) (api.KilledVM, error) {
	vm, err := change(ctx, who, in, s.config.VMs.Kill)
	return api.KilledVM{ID: string(vm.ID)}, err
}

func (s *Server) deleteVM(ctx context.Context, who caller, in *vmInput) (api.DeletedVM, error) {
	vm, err := change(ctx, who, in, s.config.VMs.Delete)
	return api.DeletedVM{ID: string(vm.ID)}, err
}

// change does to a VM what needs nothing but its id.
func change(ctx context.Context, who caller, in *vmInput, do func(context.Context, coppice.AccountID, coppice.VMID) (coppice.VM, error)) (coppice.VM, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return coppice.VM{}, err
	}
	return do(ctx, who.Account, id)
}

func (s *Server) awaitVM(w http.ResponseWriter, r *http.Request, who caller, in *vmInput) error {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return err
	}
	ctx, cancel := s.whileServing(r.Context())
	defer cancel()
	patience := keepWaiting(w)
	exit, err := s.config.VMs.Await(ctx, who.Account, id)
	patience.stop()
	if err != nil {
		return endOf(ctx, err)
	}
	return writeJSON(w, api.Exited{ID: string(id), ExitStatus: string(exit.Kind), Detail: exit.Detail})
}

// endOf returns why ctx ended, if that is why err is there.
func endOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}

func (s *Server) console(w http.ResponseWriter, r *http.Request, who caller) error {
	id, err := parseVMID(r.PathValue("vm_id"))
	if err != nil {
		return err
	}
	text, err := s.config.VMs.Console(r.Context(), who.Account, id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err = w.Write(text)
	return err
}

type listInput struct {
	Limit          int    `query:"limit" minimum:"1" doc:"How many at most; all if absent"`
	Offset         int    `query:"offset" minimum:"0" doc:"How many to leave out at the start"`
	State          string `query:"vmState" enum:"building,starting,running,suspending,suspended,stopped,lost"`
	IncludeDeleted bool   `query:"includeDeleted"`
	Search         string `query:"search" doc:"What is in the id or the name, in any case"`
}

func (s *Server) listVMs(ctx context.Context, who caller, in *listInput) (api.VMList, error) {
	vms, err := s.config.VMs.VMs(ctx, who.Account, in.IncludeDeleted)
	if err != nil {
		return api.VMList{}, err
	}
	list := api.VMList{VMs: []api.VM{}}
	search := strings.ToLower(in.Search)
	for i := range vms {
		vm := shape(&vms[i])
		if in.State != "" && in.State != string(vm.State) {
			continue
		}
		if !strings.Contains(vm.ID, search) && !strings.Contains(strings.ToLower(vm.Name), search) {
			continue
		}
		count(&list, &vm)
		if list.TotalCount > in.Offset && (in.Limit == 0 || len(list.VMs) < in.Limit) {
			list.VMs = append(list.VMs, vm)
		}
	}
	return list, nil
}

func count(list *api.VMList, vm *api.VM) {
	list.TotalCount++
	if vm.Deleted {
		return
	}
	switch vm.State {
	case api.Running:
		list.RunningCount++
	case api.Starting:
		list.StartingCount++
	case api.Suspending:
		list.SuspendingCount++
	case api.Suspended:
		list.SuspendedCount++
	case api.Stopped:
		list.StoppedCount++
	case api.Lost:
		list.LostCount++
	}
}

// shape returns a VM as users see it.
func shape(vm *coppice.VM) api.VM {
	out := api.VM{
		ID:     string(vm.ID),
		Name:   vm.Name,
		State:  stateOf(vm.State, vm.Verb),
		Reason: vm.Reason,
		Sizing: api.Sizing{
			VCPUCount:    vm.Size.VCPUs,
			MemSizeMiB:   vm.Size.MemoryMiB,
			RootfsSizeMB: vm.Size.DiskMiB,
		},
		SnapshotID:   string(vm.Snapshot),
		VMInstanceID: string(vm.Instance),
		CreatedAt:    vm.CreatedAt.UTC(),
		Deleted:      vm.Deleted(),
		Private:      vm.Private,

		ActivityThresholdBytes: vm.ActivityBytes,
	}
	if vm.IdleTimeout > 0 {
		out.IdleTimeoutSeconds = new(vm.IdleTimeout.Seconds())
	}
	if !vm.Activity.At.IsZero() {
		out.LastNetworkActivity = new(vm.Activity.At.UTC())
	}
	if vm.IdleTimeout > 0 && out.State == api.Running {
		out.ReclaimAt = new(time.Now().Add(vm.IdleTimeout - vm.Activity.Idle).UTC().Truncate(time.Millisecond))
	}
	out.Persistence = shapePersistence(&vm.Persistence)
	return out
}

func shapePersistence(p *coppice.Persistence) *api.Persistence {
	out := &api.Persistence{Type: string(p.Type)}
	switch p.Type {
	case coppice.Sticky:
		out.Priority = &p.Priority
	case coppice.Ephemeral:
		out.DeleteEvent = (*string)(&p.DeleteEvent)
	}
	return out
}

// stateOf returns the state a user sees while verb is in flight. What ends or
// changes a VM shows the state it has still got.
func stateOf(state coppice.State, verb coppice.Verb) api.State {
	switch {
	case state == coppice.Failed:
		return api.Lost
	case verb == coppice.Restore, verb == coppice.Start, verb == coppice.Resume, verb == coppice.Reboot:
		return api.Starting
	case verb == coppice.Suspend:
		return api.Suspending
	case state == coppice.Absent:
		return api.Stopped // of a tombstone, which also says that it is deleted
	}
	return api.State(state)
}

// idleTimeout returns a timeout as the root has it: nil is absent, 0 is never.
func idleTimeout(t api.IdleTimeout, code coppice.Code) (*time.Duration, error) {
	const century = 100 * 365 * 24 * 3600
	switch {
	case !t.Set:
		return nil, nil
	case t.Seconds == nil:
		return new(time.Duration(0)), nil
	case *t.Seconds <= 0 || *t.Seconds > century:
		return nil, coppice.Errorf(code, "idleTimeoutSeconds is more than 0, or null for never; not %v", *t.Seconds)
	}
	return new(time.Duration(*t.Seconds * float64(time.Second))), nil
}
