package qemu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// MemoryFootprint implements [coppice.ProcessMeter].
func (h *Hypervisor) MemoryFootprint(ctx context.Context, id coppice.VMID) (coppice.Footprint, error) {
	return measure(h, id, memoryOf)
}

// Work implements [coppice.ProcessMeter].
func (h *Hypervisor) Work(ctx context.Context, id coppice.VMID) (coppice.Work, error) {
	return measure(h, id, workOf)
}

// measure returns what is found out about the process of a VM's run.
func measure[T any](h *Hypervisor, id coppice.VMID, of func(pid int) (T, error)) (found T, err error) {
	h.mu.Lock()
	r := h.runs[id]
	h.mu.Unlock()
	if r == nil {
		return found, fmt.Errorf("measure %s: %w", id, coppice.ErrNoRun)
	}
	found, err = of(r.proc.pid)
	if r.proc.isGone() { // then it was somebody else's, or nobody's
		err = coppice.ErrNoRun
	}
	if err != nil {
		err = fmt.Errorf("measure %s: %w", id, err)
	}
	return found, err
}

// memoryOf adds up a process's pages. Those that are of no file are its own,
// also where they are swapped out.
func memoryOf(pid int) (coppice.Footprint, error) {
	name := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	kib, err := numbers(name)
	if err != nil {
		return coppice.Footprint{}, err
	}
	resident, anonymous := kib["Rss:"], kib["Anonymous:"]
	if resident == 0 {
		return coppice.Footprint{}, fmt.Errorf("%s says nothing", name)
	}
	return coppice.Footprint{Own: (anonymous + kib["Swap:"]) << 10, Shared: (resident - anonymous) << 10}, nil
}

// workOf reads a process's processor clock, which counts threads that have
// ended too, and what it had storage do.
func workOf(pid int) (coppice.Work, error) {
	const schedulers = 2 // CPUCLOCK_SCHED: what the scheduler counted, of a whole process
	var cpu unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedulers), &cpu); err != nil {
		return coppice.Work{}, fmt.Errorf("clock of process %d: %w", pid, err)
	}
	bytes, err := numbers(fmt.Sprintf("/proc/%d/io", pid))
	return coppice.Work{CPU: time.Duration(cpu.Nano()), Read: bytes["read_bytes:"], Written: bytes["write_bytes:"]}, err
}

// numbers reads a file whose lines are a word and a number.
func numbers(name string) (map[string]int64, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	found := map[string]int64{}
	for line := range bytes.Lines(b) {
		var word string
		var n int64
		if _, err := fmt.Sscanf(string(line), "%s %d", &word, &n); err == nil {
			found[word] = n
		}
	}
	return found, nil
}
