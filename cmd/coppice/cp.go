package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/coppice-vm/coppice/client"
)

func (m *Main) copyCommand() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "cp SOURCE DESTINATION",
		Short: "Copy a file or a directory into a VM or out of it",
		Long: `Copy a file or a directory into a VM or out of it. One of the two is VM:PATH.

What is copied to a directory that is there goes into it, under its own name.
Directories come with their modes, times and symbolic links.`,
		Example: `  coppice cp notes.txt hello:/root/
  coppice cp hello:/var/log ./logs`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault // local files
		},
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			from, fromVM := splitVM(args[0])
			to, toVM := splitVM(args[1])
			if fromVM == toVM {
				return errors.New("one of source and destination must be VM:PATH, and the other a local path")
			}
			ref := from.vm + to.vm // one of them is empty
			id, err := find(ctx, c, ref)
			if err != nil {
				return err
			}
			t := transfer{main: m, client: c, id: id, user: user, files: c.Files(id, user)}
			if toVM {
				return t.upload(ctx, from.path, to.path)
			}
			return t.download(ctx, from.path, to.path)
		}),
	}
	cmd.Flags().StringVarP(&user, "user", "u", "", "user of the guest to act as (default root)")
	return cmd
}

// A place is a path in a VM, or on this machine if vm is empty.
type place struct{ vm, path string }

// splitVM reads VM:PATH. A path with a slash before its first colon is local.
func splitVM(s string) (p place, inVM bool) {
	vm, rest, ok := strings.Cut(s, ":")
	if !ok || vm == "" || strings.Contains(vm, "/") {
		return place{path: s}, false
	}
	return place{vm: vm, path: rest}, true
}

// A transfer copies between this machine and one VM.
type transfer struct {
	main     *Main
	client   *client.Client
	id, user string
	files    client.Files
}

func (t *transfer) upload(ctx context.Context, from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a file nor a directory", from)
	}
	to, err = t.destination(ctx, from, to)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return t.uploadTree(ctx, from, to)
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	meter := t.meter(info.Size(), from)
	defer meter.Close()
	return t.files.Write(ctx, to, info.Mode().Perm(), io.TeeReader(f, meter))
}

// destination returns the name in the guest that a copy of the local from gets.
func (t *transfer) destination(ctx context.Context, from, to string) (string, error) {
	base, err := filepath.Abs(from) // "." has a name, too
	if err != nil {
		return "", err
	}
	inside := path.Join(to, filepath.Base(base))
	if to == "" {
		to = "." // the home
	}
	f, err := t.files.Open(ctx, to)
	switch {
	case notExist(err):
		if strings.HasSuffix(to, "/") {
			return inside, nil
		}
		return to, nil
	case err != nil:
		return "", err
	case f.Dir:
		return inside, nil
	}
	return to, f.Content.Close()
}

func (t *transfer) download(ctx context.Context, from, to string) error {
	if from == "" {
		from = "."
	}
	f, err := t.files.Open(ctx, from)
	if err != nil {
		return err
	}
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		to = filepath.Join(to, path.Base(path.Clean("/"+from)))
	} else if err != nil && strings.HasSuffix(to, "/") && !f.Dir {
		f.Content.Close()
		return fmt.Errorf("there is no directory %s", to)
	}
	if f.Dir {
		return t.downloadTree(ctx, from, to)
	}
	defer f.Content.Close()
	return t.writeLocal(to, f.Mode, f.Size, f.Content)
}

// writeLocal replaces a local file, which has its old content until all of the new is there.
func (t *transfer) writeLocal(name string, mode fs.FileMode, size int64, r io.Reader) error {
	out, err := os.CreateTemp(filepath.Dir(name), ".coppice-cp-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name()) // fails after the rename, as it should
	meter := t.meter(size, name)
	_, err = io.Copy(io.MultiWriter(out, meter), r)
	meter.Close()
	if err := errors.Join(err, out.Chmod(mode.Perm()), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), name)
}

// meter shows how much has been written to it, if somebody is looking. size 0 is not known.
func (t *transfer) meter(size int64, name string) io.WriteCloser {
	f, ok := t.main.Stderr.(*os.File)
	if size == 0 {
		size = -1
	}
	return progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(t.main.Stderr),
		progressbar.OptionSetVisibility(ok && term.IsTerminal(int(f.Fd()))),
		progressbar.OptionSetDescription(filepath.Base(name)),
		progressbar.OptionShowBytes(true),
		progressbar.OptionClearOnFinish(),
	)
}
