// Package host keeps a data directory: where things are in it, which process
// serves it, the credentials the CLI finds there, and how that process is
// started in the background and stopped again.
package host

import (
	"fmt"
	"os"
	"path/filepath"
)

// DefaultDir is the data directory when nothing else is said.
const DefaultDir Dir = "/var/lib/coppice"

// A Dir is a data directory: all that one daemon keeps. Only root may enter it,
// since the disks of VMs are in it.
type Dir string

// Database is the file of the store.
func (d Dir) Database() string { return d.file("coppice.db") }

// Pool is where disks and memory files are: on a file system that can share blocks.
func (d Dir) Pool() string { return d.file("pool") }

// Run is where the sockets of VMM processes are.
func (d Dir) Run() string { return d.file("run") }

// Consoles is where the serial consoles of VMs are kept.
func (d Dir) Consoles() string { return d.file("consoles") }

// Log is the daemon's log.
func (d Dir) Log() string { return d.file("coppice.log") }

// Credentials is the file that [Dir.ReadCredentials] reads.
func (d Dir) Credentials() string { return d.file("credentials") }

// PIDFile is the file that the daemon holds a lock on and describes itself in.
func (d Dir) PIDFile() string { return d.file("coppice.pid") }

func (d Dir) file(name string) string { return filepath.Join(string(d), name) }

// Make makes the directory if it is not there.
func (d Dir) Make() error {
	if !filepath.IsAbs(string(d)) {
		return fmt.Errorf("the data directory %q is not an absolute path", string(d))
	}
	return os.MkdirAll(string(d), 0o700)
}

// writeFile replaces a file by data, atomically and durably, readable by its owner only.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
