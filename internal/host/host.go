// Package host keeps a data directory: where things are in it, which process
// serves it, the credentials the CLI finds there, and how that process is
// started in the background and stopped again.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

var (
	fileRemoved = failpoint.New("host/remove/file")
	fileMade    = failpoint.New("host/write/made")
	fileWritten = failpoint.New("host/write/written")
	fileSynced  = failpoint.New("host/write/synced")
	fileRenamed = failpoint.New("host/write/renamed")
)

// DefaultDir is the data directory when nothing else is said.
const DefaultDir Dir = "/var/lib/coppice"

// imageFile holds the id of the image that new VMs start from.
const imageFile = "image"

// A Dir is a data directory: all that one daemon keeps. Only root may enter it,
// since the disks of VMs are in it.
type Dir string

// Database is the file of the store.
func (d Dir) Database() string { return d.file("coppice.db") }

// Pool is where disks and memory files are: on a file system that can share blocks.
func (d Dir) Pool() string { return d.file("pool") }

// Run is where each VMM process has its sockets and its console.
func (d Dir) Run() string { return d.file("run") }

// Networks has a file for each VM's network namespace.
func (d Dir) Networks() string { return d.file("networks") }

// Accelerator is the file that remembers whether KVM works here.
func (d Dir) Accelerator() string { return d.file("accelerator.json") }

// Log is the daemon's log.
func (d Dir) Log() string { return d.file("coppice.log") }

// CA is the file with the key and the certificate of the host's own certificate
// authority.
func (d Dir) CA() string { return d.file("ca.pem") }

// Certificates is the directory of the certificates that a public authority has
// signed.
func (d Dir) Certificates() string { return d.file("certificates") }

// Sessions is the file with the key that the sessions of browsers which visit
// private VMs are sealed with.
func (d Dir) Sessions() string { return d.file("sessions.key") }

// Credentials is the file that [Dir.ReadCredentials] reads.
func (d Dir) Credentials() string { return d.file("credentials") }

// SSHHostKey is the file of the key that the SSH gateway shows.
func (d Dir) SSHHostKey() string { return d.file("ssh_host_ed25519_key") }

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

// Image returns the id of the image that new VMs start from. The error wraps
// [io/fs.ErrNotExist] if none has been set.
func (d Dir) Image() (coppice.ImageID, error) {
	b, err := os.ReadFile(d.file(imageFile))
	return coppice.ImageID(strings.TrimSpace(string(b))), err
}

// SetImage sets the image that new VMs start from, once the daemon starts.
func (d Dir) SetImage(id coppice.ImageID) error {
	return WriteFile(d.file(imageFile), []byte(id+"\n"))
}

// Remove removes the files that this package and the daemon keep in the
// directory, and the directory itself if nothing else is in it: the pool has
// been removed before, and strangers' files stay.
func (d Dir) Remove() error {
	names := []string{imageFile, filepath.Base(d.Accelerator()), filepath.Base(d.Credentials()), filepath.Base(d.PIDFile()), filepath.Base(d.SSHHostKey()), filepath.Base(d.CA()), filepath.Base(d.Sessions())}
	for _, base := range []string{d.Database(), d.Log()} {
		matches, err := filepath.Glob(base + "*") // SQLite's journals; the log before this one
		if err != nil {
			return err
		}
		for _, m := range matches {
			names = append(names, filepath.Base(m))
		}
	}
	if err := d.clear(); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(d.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := fileRemoved.Hit(context.Background()); err != nil {
			return err
		}
	}
	if err := errors.Join(os.RemoveAll(d.Run()), os.RemoveAll(d.Certificates())); err != nil {
		return err
	}
	err := os.Remove(string(d))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// ReadOrMake returns what is in a file, which is made if it is not there, readable
// by its owner only.
func ReadOrMake(name string, content func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(name)
	if !errors.Is(err, os.ErrNotExist) {
		return b, err
	}
	if b, err = content(); err != nil {
		return nil, err
	}
	return b, WriteFile(name, b)
}

// WriteFile replaces a file by data, atomically and durably, readable by its owner
// only. What a process leaves that dies meanwhile, the next [Dir.Claim] removes.
func WriteFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	if err := write(f, data); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	if err := fileRenamed.Hit(context.Background()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close()) // which makes the name durable
}

// write makes data the content of a new file, durably, and closes it.
func write(f *os.File, data []byte) (err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	ctx := context.Background()
	if err := fileMade.Hit(ctx); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := fileWritten.Hit(ctx); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return fileSynced.Hit(ctx)
}
