package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/host"
)

// A machine is what a figure was measured on.
type machine struct {
	CPU       string `json:"cpu,omitempty"`
	Cores     int    `json:"cores"`
	MemoryMiB int64  `json:"memoryMib"`
	Kernel    string `json:"kernel,omitempty"`
	VMM       string `json:"vmm,omitempty"`  // with how it runs processors: tcg, or kvm
	Pool      string `json:"pool,omitempty"` // its file system
	Coppice   string `json:"coppice"`
}

func (m machine) String() string {
	said := []string{m.CPU, fmt.Sprintf("%d cores", m.Cores), gib(m.MemoryMiB<<20) + " of memory", m.Kernel, m.VMM}
	return strings.Join(slices.DeleteFunc(said, func(s string) bool { return s == "" }), ", ")
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
		m.Kernel = "Linux " + unix.ByteSliceToString(uts.Release[:])
	}
	return m
}

// describeHost says what is known of the machine that the daemon is on.
func (b *bench) describeHost(ctx context.Context) (machine, error) {
	host, err := b.client.Host(ctx)
	if err != nil {
		return machine{}, err
	}
	var m machine
	if b.local {
		m = describeMachine()
		var pool unix.Statfs_t
		if unix.Statfs(b.dir.Pool(), &pool) == nil {
			kind, _ := fileSystem(pool.Type)
			m.Pool = fmt.Sprintf("%s, %s", kind, gib(int64(pool.Blocks)*pool.Bsize))
		}
	}
	m.Cores, m.MemoryMiB, m.VMM, m.Coppice = host.CPUCount, host.MemoryMiB, host.VMM, host.Version
	return m, nil
}

// quietLoad is the load average above which a machine has something else to do.
const quietLoad = 0.7

// loadAverage returns this machine's over the last minute; 0 if it is not known.
func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
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
