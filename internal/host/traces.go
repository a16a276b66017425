package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

// The names of files that are not written to their end yet: those of [WriteFile],
// bodies of requests, which have a name for a moment, and certmagic's.
var (
	unfinished            = regexp.MustCompile(`^(image|credentials|ca\.pem|ssh_host_ed25519_key|sessions\.key)\.[0-9]+$|^upload-[0-9]+$`)
	unfinishedCertificate = regexp.MustCompile(`^[0-9]+$`)
)

// unfinished returns the files that were not written to their end.
func (d Dir) unfinished() (names []string, err error) {
	entries, err := os.ReadDir(string(d))
	for _, entry := range entries {
		if unfinished.MatchString(entry.Name()) {
			names = append(names, d.file(entry.Name()))
		}
	}
	walkErr := filepath.WalkDir(d.Certificates(), func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // or not any more
			return nil
		}
		if err == nil && entry.Type().IsRegular() && unfinishedCertificate.MatchString(entry.Name()) {
			names = append(names, name)
		}
		return err
	})
	return names, errors.Join(err, walkErr)
}

var unfinishedRemoved = failpoint.New("host/clear/file")

// clear removes what was not written to its end, and may be a secret. Nobody may
// be writing.
func (d Dir) clear() error {
	names, err := d.unfinished()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		err = errors.Join(err, os.Remove(name), unfinishedRemoved.Hit(context.Background()))
	}
	return err
}

// Traces implements [coppice.Inspector]: it lists files that were not written to
// their end. What else is in the directory has adapters of its own, or is of strangers.
func (d Dir) Traces(ctx context.Context) ([]coppice.Trace, error) {
	names, err := d.unfinished()
	var traces []coppice.Trace
	for _, name := range names {
		traces = append(traces, coppice.Trace{Kind: coppice.TraceUnfinished, Name: name, Disposable: true})
	}
	return traces, err
}

// Erase implements [coppice.Eraser].
func (d Dir) Erase(ctx context.Context, t coppice.Trace) error {
	names, err := d.unfinished()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(t.Name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !slices.Contains(names, t.Name) {
		return fmt.Errorf("erase %s: that is nothing of the data directory's that may be removed", t.Name)
	}
	if err := os.Remove(t.Name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
