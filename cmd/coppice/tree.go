package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/coppice-vm/coppice"
)

// notExist reports whether the guest has no such file.
func notExist(err error) bool {
	return err != nil && coppice.CodeOf(err) == coppice.CodeFileNotFound
}

// uploadTree makes to, in the guest, what the directory from is here: an
// archive goes through tar there.
func (t *transfer) uploadTree(ctx context.Context, from, to string) error {
	r, w := io.Pipe()
	meter := t.meter(0, from)
	defer meter.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := pack(io.MultiWriter(w, meter), from)
		w.CloseWithError(err)
		if errors.Is(err, io.ErrClosedPipe) {
			return nil // the guest's tar has ended, and says why
		}
		return err
	})
	group.Go(func() error {
		command := fmt.Sprintf("mkdir -p %[1]s && tar -x --no-same-owner -C %[1]s", quote(dashless(to)))
		defer r.Close()
		return t.run(ctx, command, r, io.Discard)
	})
	return group.Wait()
}

// downloadTree makes the directory to, here, what from is in the guest.
func (t *transfer) downloadTree(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	r, w := io.Pipe()
	meter := t.meter(0, from)
	defer meter.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := t.run(ctx, "tar -c -C "+quote(dashless(from))+" .", nil, io.MultiWriter(w, meter))
		w.CloseWithError(err)
		return err
	})
	group.Go(func() error {
		defer r.Close()
		if err := unpack(root, r); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, r) // archives end before their padding does
		return err
	})
	return group.Wait()
}

// run runs a command in the guest that must succeed.
func (t *transfer) run(ctx context.Context, command string, stdin io.Reader, stdout io.Writer) error {
	var stderr bytes.Buffer
	status, err := t.client.Exec(ctx, t.id, coppice.ExecSpec{Command: command, User: t.user},
		coppice.Stdio{Stdin: stdin, Stdout: stdout, Stderr: &stderr})
	if err == nil && status.Code != 0 {
		err = fmt.Errorf("in the guest: %s", bytes.TrimSpace(stderr.Bytes()))
	}
	return err
}

// dashless keeps a relative name from being taken for an option.
func dashless(name string) string {
	if strings.HasPrefix(name, "-") {
		return "./" + name
	}
	return name
}

// pack writes an archive of what is in dir.
func pack(w io.Writer, dir string) error {
	tw := tar.NewWriter(w)
	if err := tw.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return tw.Close()
}

// unpack makes the files of an archive below root. The archive is a guest's,
// and not trusted: nothing gets outside of root, nothing becomes a device or
// runs as another user.
func unpack(root *os.Root, r io.Reader) error {
	type dirTime struct {
		name   string
		header *tar.Header
	}
	var dirs []dirTime
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(name, 0o700); err != nil {
				return err
			}
			dirs = append(dirs, dirTime{name, h})
		case tar.TypeReg:
			if err := unpackFile(root, name, h, tr); err != nil {
				return err
			}
		case tar.TypeSymlink:
			if err := replace(root, name, func() error { return root.Symlink(h.Linkname, name) }); err != nil {
				return err
			}
		case tar.TypeLink:
			if err := replace(root, name, func() error { return root.Link(filepath.Clean(h.Linkname), name) }); err != nil {
				return err
			}
		}
	}
	// Last, since a directory that may not be written to still had to be, and
	// inner ones first, since an outer one may forbid going in.
	for i := len(dirs) - 1; i >= 0; i-- {
		d := dirs[i]
		if err := errors.Join(
			root.Chtimes(d.name, d.header.ModTime, d.header.ModTime),
			root.Chmod(d.name, d.header.FileInfo().Mode().Perm()),
		); err != nil {
			return err
		}
	}
	return nil
}

func unpackFile(root *os.Root, name string, h *tar.Header, r io.Reader) error {
	mode := h.FileInfo().Mode().Perm()
	return replace(root, name, func() error {
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
			return err
		}
		return root.Chtimes(name, h.ModTime, h.ModTime)
	})
}

// replace makes a file after removing what has its name.
func replace(root *os.Root, name string, make func() error) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return make()
}
