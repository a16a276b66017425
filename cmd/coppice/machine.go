package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
)

// A machine is what a figure was measured on.
type machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryMiB int64  `json:"memoryMib"`
	Kernel    string `json:"kernel"`
	Coppice   string `json:"coppice"`
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s of memory, Linux %s", m.CPU, m.Cores, gib(m.MemoryMiB<<20), m.Kernel)
}

// describeMachine says what is known of this machine; what is not stays empty.
func describeMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Coppice: version()}
	m.CPU, _ = procField("/proc/cpuinfo", "model name")
	if total, ok := procField("/proc/meminfo", "MemTotal"); ok {
		m.MemoryMiB = kib(total) / 1024
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		m.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	return m
}

// memory is what the daemon and its VMs cost the host.
type memory struct {
	VMs       int     `json:"vms"`
	Running   int     `json:"running"`
	DaemonMiB float64 `json:"daemonRssMib"`
	// PerVMMiB is the proportional set size, in which a page that several
	// processes share counts in parts.
	PerVMMiB float64 `json:"perVmPssMib"`
}

// memory measures the daemon and its VMs. nil if they are not on this machine.
func (m *Main) memory(ctx context.Context, c *client.Client) *memory {
	daemon, err := m.config.dir().Daemon()
	if err != nil {
		return nil
	}
	rss, ok := procField(fmt.Sprintf("/proc/%d/status", daemon.PID), "VmRSS")
	if !ok {
		return nil
	}
	list, err := c.VMs(ctx, client.Query{})
	if err != nil {
		return nil
	}
	found := &memory{VMs: list.TotalCount, DaemonMiB: float64(kib(rss)) / 1024}
	for _, pid := range vmProcesses(m.config.dir()) {
		if pss, ok := procField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss"); ok {
			found.PerVMMiB += float64(kib(pss)) / 1024
			found.Running++
		}
	}
	if found.Running > 0 {
		found.PerVMMiB /= float64(found.Running)
	}
	return found
}

// vmProcesses returns the processes that run the VMs of a data directory, by the
// VM's id. Their first argument names their run directory; see package qemu.
func vmProcesses(dir host.Dir) map[string]int {
	pids := map[string]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		cmdline, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		name, _, _ := strings.Cut(string(cmdline), "\x00")
		id, ok := strings.CutPrefix(name, "coppice-vm:"+dir.Run()+"/")
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if ok && err == nil {
			pids[id] = pid
		}
	}
	return pids
}

// procField returns the value in the first line "name: value" of a file in /proc.
func procField(file, name string) (string, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	for line := range bytes.Lines(b) {
		key, value, ok := strings.Cut(string(line), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// kib reads "123 kB".
func kib(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(s, " kB"), 10, 64)
	return n
}
