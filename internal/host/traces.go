package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/coppice-vm/coppice"
)

// temporary are the names that files have which are not written to their end yet:
// see [WriteFile].
var temporary = regexp.MustCompile(`^(image|credentials|ca\.pem|ssh_host_ed25519_key|sessions\.key)\.[0-9]+$`)

// Traces implements [coppice.Inspector]: it lists files that were not written to
// their end. What else is in the directory has adapters of its own, or is of strangers.
func (d Dir) Traces(ctx context.Context) ([]coppice.Trace, error) {
	entries, err := os.ReadDir(string(d))
	var traces []coppice.Trace
	for _, entry := range entries {
		if temporary.MatchString(entry.Name()) {
			traces = append(traces, coppice.Trace{Kind: coppice.TraceUnfinished, Name: d.file(entry.Name()), Disposable: true})
		}
	}
	return traces, err
}

// Erase implements [coppice.Eraser].
func (d Dir) Erase(ctx context.Context, t coppice.Trace) error {
	if filepath.Dir(t.Name) != filepath.Clean(string(d)) || !temporary.MatchString(filepath.Base(t.Name)) {
		return fmt.Errorf("erase %s: that is nothing of the data directory's that may be removed", t.Name)
	}
	if err := os.Remove(t.Name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
