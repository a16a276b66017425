package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/qemu/cgroup"
)

// A runDir holds the files of one VM's runs.
type runDir string

func (d runDir) name() string    { return filepath.Base(string(d)) }
func (d runDir) record() string  { return filepath.Join(string(d), "run.json") }
func (d runDir) draft() string   { return d.record() + ".new" } // of the record
func (d runDir) qmp() string     { return filepath.Join(string(d), "qmp.sock") }
func (d runDir) agent() string   { return filepath.Join(string(d), "agent.sock") }
func (d runDir) qemuLog() string { return filepath.Join(string(d), "qemu.log") }
func (d runDir) console() string { return filepath.Join(string(d), consoleFile) }

const consoleFile = "console.log"

// maxSocketPath is what the kernel takes as the name of a unix socket.
const maxSocketPath = 107

// dir returns the run directory of a VM.
func (h *Hypervisor) dir(id coppice.VMID) (runDir, error) {
	if !id.Valid() { // or the name might lead out of the directory
		return "", fmt.Errorf("%q is no VM id", id)
	}
	d := runDir(filepath.Join(h.runDir, string(id)))
	if n := len(d.agent()); n > maxSocketPath {
		return "", fmt.Errorf("the run directory's name is too long: the socket %s has %d bytes, the kernel takes %d",
			d.agent(), n, maxSocketPath)
	}
	return d, nil
}

// A record is what there is to know of a process.
type record struct {
	coppice.Machine
	Groups []string `json:",omitempty"` // directories of its control group
}

// amendRecord remembers what a process that was started is from now on.
func (d runDir) amendRecord(m coppice.Machine) error {
	r, err := d.readRecord()
	if err != nil {
		return err
	}
	r.Machine = m
	return d.writeRecord(r)
}

// writeRecord remembers a process about to be started, or what one is from now
// on. A daemon that dies here leaves the record that was there.
func (d runDir) writeRecord(r record) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.draft(), b, 0o600); err != nil {
		return err
	}
	return os.Rename(d.draft(), d.record())
}

// readRecord returns the record of the process that was started last.
func (d runDir) readRecord() (r record, err error) {
	b, err := os.ReadFile(d.record())
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: %w", d.record(), err)
	}
	return r, nil
}

// clear removes what belonged to a run whose process is gone: everything but
// the console's log, and QEMU's own, which may say why. The record goes last, and
// stays if a control group does, which nothing else knows of.
func (h *Hypervisor) clear(dir runDir) error {
	groups := h.groups(coppice.VMID(dir.name())) // whatever the record says
	if r, err := dir.readRecord(); err == nil {
		groups = append(groups, r.Groups...)
	}
	slices.Sort(groups)
	err := cgroup.Remove(slices.Compact(groups))
	names := []string{dir.qmp(), dir.agent(), dir.draft()}
	if err == nil {
		names = append(names, dir.record())
	}
	for _, name := range names {
		if removeErr := os.Remove(name); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}

// logLines returns the last lines of QEMU's log, oldest first.
func (d runDir) logLines() []string {
	b, _ := tail(d.qemuLog(), qemuLogBytes)
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// undescribed is what QEMU says when it has loaded the devices of a capture,
// which are all that a capture's state has.
const undescribed = "Expected vmdescription section"

// complaint returns what QEMU said last about itself, in one line, or nothing.
func (d runDir) complaint() string {
	const enough = 3
	var said []string
	for _, line := range d.logLines() {
		if strings.HasPrefix(line, powerOffTrace) || strings.Contains(line, undescribed) {
			continue
		}
		said = append(said, line)
	}
	return strings.Join(said[max(0, len(said)-enough):], "; ")
}
