package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/coppice-vm/coppice/internal/progress"
)

// A hostPackage is a Debian package that coppice needs, and a file by which one
// knows that it is there.
type hostPackage struct{ name, file string }

// hostPackages lists what coppice needs of the host.
func hostPackages() []hostPackage {
	return []hostPackage{
		{"qemu-system-x86", "/usr/bin/qemu-system-x86_64"},
		{"mmdebstrap", "/usr/bin/mmdebstrap"},
		{"debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"},
		{"e2fsprogs", "/sbin/mkfs.ext4"},
		{"xfsprogs", "/sbin/mkfs.xfs"},
	}
}

// installPackages installs what is missing, and asks apt nothing if nothing is.
func installPackages(ctx context.Context, step *progress.Step) error {
	names := missing(hostPackages())
	if len(names) == 0 {
		step.Result("all there")
		return nil
	}
	step.Note("apt-get update")
	if err := apt(ctx, step, "update"); err != nil {
		return err
	}
	step.Note("apt-get install %s", strings.Join(names, " "))
	if err := apt(ctx, step, append([]string{"install", "--no-install-recommends"}, names...)...); err != nil {
		return err
	}
	if still := missing(hostPackages()); len(still) > 0 {
		return fmt.Errorf("apt-get has installed %s, but not what coppice needs of it", strings.Join(still, ", "))
	}
	step.Result("installed %s", strings.Join(names, ", "))
	return nil
}

// missing returns the names of the packages that are not there.
func missing(packages []hostPackage) []string {
	var names []string
	for _, p := range packages {
		if _, err := os.Stat(p.file); err != nil {
			names = append(names, p.name)
		}
	}
	return names
}

// apt runs apt-get, which asks nothing and says in a pipe how far it is. A
// service that it starts may keep what it has inherited open: so its output goes
// to a file, and nothing waits for the pipe's end.
func apt(ctx context.Context, step *progress.Step, args ...string) error {
	out, err := os.CreateTemp("", "coppice-apt-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()

	options := []string{"-q", "-y", "-o", "APT::Status-Fd=3", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"}
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{w}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // dpkg is to finish what it is at
	err = cmd.Start()
	w.Close()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no apt-get: coppice installs packages on Debian only")
	}
	if err != nil {
		return err
	}
	read := make(chan struct{})
	go func() {
		readStatus(r, func(what string) { step.Detail("%s", what) })
		close(read)
	}()
	err = cmd.Wait()
	r.Close()
	<-read
	if err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, lastLines(string(said), 10))
	}
	return nil
}

// readStatus passes on what apt says it is doing, until it stops.
// Each line is "kind:package:percent:what".
func readStatus(r io.Reader, note func(string)) {
	last := ""
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.SplitN(lines.Text(), ":", 4)
		if len(f) < 4 || f[3] == last {
			continue
		}
		last = f[3]
		percent, _, _ := strings.Cut(f[2], ".")
		note(percent + " % " + last)
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
