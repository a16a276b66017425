package coppice

import "context"

// NoLimit is what a member of [Limits] is that does not limit.
const NoLimit = -1

// Limits bound what an account has at a time. A member that is [NoLimit] does not.
type Limits struct {
	VMs     int // in whatever state
	Running int // VMs that run or are on their way to
	// Each bounds a single VM.
	Each Size
	// Sum bounds the CPUs and the memory of the VMs that run, and the disks of all.
	Sum       Size
	Snapshots int
	PTYs      int // terminal sessions, in one VM
}

// DefaultLimits are those of an account for which no others are set. They are
// to keep one account from taking the store for itself: what a host can bear is
// looked at apart.
var DefaultLimits = Limits{
	VMs:       1000,
	Running:   200,
	Each:      Size{VCPUs: 32, MemoryMiB: 64 << 10, DiskMiB: 1 << 20},
	Sum:       Size{VCPUs: 512, MemoryMiB: 512 << 10, DiskMiB: 32 << 20},
	Snapshots: 500,
	PTYs:      32,
}

// Quotas keeps the limits of accounts. The [Store] and the [Captures] that it is
// one with hold to them: a row by which its account has more of something than
// before, and then more than it may have, is not written. What is returned
// instead is the [*Error] of [Limits.Admit]. Whatever is already there may stay,
// and become less.
type Quotas interface {
	// SetLimits gives an account limits of its own, from now on.
	SetLimits(ctx context.Context, account AccountID, limits Limits) error
	// Limits returns an account's limits: [DefaultLimits] if none were set.
	Limits(ctx context.Context, account AccountID) (Limits, error)
	// Usage returns what an account has.
	Usage(ctx context.Context, account AccountID) (Usage, error)
}

// Usage is what there is of what [Limits] bounds. Each is what the largest VM has.
type Usage struct {
	VMs       int
	Running   int
	Each, Sum Size
	Snapshots int
}

// Plus returns what there is of two things together.
func (u Usage) Plus(v Usage) Usage {
	return Usage{
		VMs:       u.VMs + v.VMs,
		Running:   u.Running + v.Running,
		Each:      u.Each.larger(v.Each),
		Sum:       Size{u.Sum.VCPUs + v.Sum.VCPUs, u.Sum.MemoryMiB + v.Sum.MemoryMiB, u.Sum.DiskMiB + v.Sum.DiskMiB},
		Snapshots: u.Snapshots + v.Snapshots,
	}
}

// Exceeds reports whether there is more of anything than in v.
func (u Usage) Exceeds(v Usage) bool {
	more, less := u.counts(), v.counts()
	for i := range more {
		if more[i] > less[i] {
			return true
		}
	}
	return false
}

// larger returns the larger of each member of two sizes.
func (s Size) larger(t Size) Size {
	return Size{max(s.VCPUs, t.VCPUs), max(s.MemoryMiB, t.MemoryMiB), max(s.DiskMiB, t.DiskMiB)}
}

// Usage returns what a VM counts for. One on its way to running counts as one
// that runs, which one that is made to be left stopped is not, and one that is resized as having the larger of both sizes. The
// host's own count for nothing.
func (vm *VM) Usage() Usage {
	if vm.Deleted() || vm.Account == SystemAccount {
		return Usage{}
	}
	size := vm.Size.larger(vm.Target)
	u := Usage{VMs: 1, Each: size, Sum: Size{DiskMiB: size.DiskMiB}}
	begins := vm.Verb == Restore && vm.Instance != "" || vm.Verb == Start || vm.Verb == Resume
	if vm.State == Running || begins {
		u.Running = 1
		u.Sum.VCPUs, u.Sum.MemoryMiB = size.VCPUs, size.MemoryMiB
	}
	return u
}

// Usage returns what a capture counts for: a snapshot, which is the one that has
// a persistence, as one from the moment it is begun.
func (c *Capture) Usage() Usage {
	if c.Persistence.Type == "" || !c.DeletedAt.IsZero() || c.Account == SystemAccount {
		return Usage{}
	}
	return Usage{Snapshots: 1}
}

// counts lists the members, in the order in which refusals come.
func (u Usage) counts() [9]int64 {
	return [...]int64{
		int64(u.VMs), int64(u.Running),
		int64(u.Each.VCPUs), u.Each.MemoryMiB, u.Each.DiskMiB,
		int64(u.Sum.VCPUs), u.Sum.MemoryMiB, u.Sum.DiskMiB,
		int64(u.Snapshots),
	}
}

// refusals say what goes with each of the counts. Those of single VMs do not add up.
var refusals = [...]struct {
	code   Code
	single bool
	text   string
}{
	{CodeTotalVMLimit, false, "the account may have %d VMs and has %d"},
	{CodeVMLimit, false, "%d VMs of the account may run at a time, and %d do"},
	{CodeVCPUOverPlan, true, "a VM of the account may have up to %d vCPUs, and this one has %d and asks for %d"},
	{CodeMemOverPlan, true, "a VM of the account may have up to %d MiB of memory, and this one has %d and asks for %d"},
	{CodeRootfsOverPlan, true, "a VM of the account may have a disk of up to %d MiB, and this one has %d and asks for %d"},
	{CodeLimitExceeded, false, "the VMs of the account that run may have %d vCPUs in all, and have %d; with this there would be %d"},
	{CodeLimitExceeded, false, "the VMs of the account that run may have %d MiB of memory in all, and have %d; with this there would be %d"},
	{CodeRootfsQuota, false, "the disks of the account's VMs may have %d MiB in all, and have %d; with this there would be %d"},
	{CodeSnapshotLimit, false, "the account may have %d snapshots and has %d"},
}

// Admit returns why an account may not have something that would count for now
// and counted for before, the zero Usage if it was not there; nil if it may. all
// is what the account would have, that thing included.
func (l Limits) Admit(all, before, now Usage) error {
	limits := Usage{VMs: l.VMs, Running: l.Running, Each: l.Each, Sum: l.Sum, Snapshots: l.Snapshots}.counts()
	was, is, total := before.counts(), now.counts(), all.counts()
	for i, refusal := range refusals {
		current, wanted := total[i]-is[i]+was[i], total[i]
		if refusal.single {
			current, wanted = was[i], is[i]
		}
		if limits[i] == NoLimit || is[i] <= was[i] || wanted <= limits[i] {
			continue
		}
		return refuse(refusal.code, refusal.text, limits[i], current, wanted)
	}
	return nil
}

// refuse returns the error of a limit, with the fields of every code there is for one.
func refuse(code Code, text string, limit, current, wanted int64) *Error {
	args := []any{limit, current, wanted}
	if code == CodeTotalVMLimit || code == CodeVMLimit || code == CodeSnapshotLimit {
		args = args[:2]
	}
	e := Errorf(code, text+"; its limits can be changed on the host (coppice limits)", args...).
		With("limit", limit).With("current", current)
	switch code {
	case CodeVCPUOverPlan, CodeMemOverPlan, CodeRootfsOverPlan:
		e.With("got", wanted).With("max", limit)
	case CodeRootfsQuota, CodeLimitExceeded:
		e.With("requested", wanted-current)
	}
	return e
}
