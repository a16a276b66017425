package mem

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coppice-vm/coppice"
)

// A shell understands what package conformance says that every guest does.
type shell struct {
	dir   string
	env   map[string]string
	stdio coppice.Stdio

	signal syscall.Signal // that it sent itself
}

// shellPID is what $$ stands for.
const shellPID = "4242"

func newShell(s *guestSession, spec coppice.ExecSpec, stdio coppice.Stdio) (*shell, error) {
	dir, err := home(spec.User)
	if err != nil {
		return nil, err
	}
	sh := &shell{dir: dir, stdio: stdio, env: map[string]string{
		"HOME": dir, "USER": "root", "LANG": "C.UTF-8", "COPPICE_VM_ID": string(s.vm),
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "$": shellPID,
	}}
	if spec.User != "" {
		sh.env["USER"] = spec.User
	}
	if spec.Dir != "" {
		sh.dir = path.Join(dir, spec.Dir)
		if path.IsAbs(spec.Dir) {
			sh.dir = spec.Dir
		}
		if _, err := s.disk.list(sh.dir); err != nil {
			return nil, err
		}
	}
	for _, variable := range spec.Env {
		name, value, _ := strings.Cut(variable, "=")
		sh.env[name] = value
	}
	for _, w := range []*io.Writer{&sh.stdio.Stdout, &sh.stdio.Stderr} {
		if *w == nil {
			*w = io.Discard
		}
	}
	if sh.stdio.Stdin == nil {
		sh.stdio.Stdin = strings.NewReader("")
	}
	return sh, nil
}

// run runs a script and returns its exit status. An error is that of stdio, or
// the end of ctx.
func (sh *shell) run(ctx context.Context, script string) (int, error) {
	status := 0
	for script != "" {
		// The & of >& ends no command.
		end := strings.IndexAny(strings.ReplaceAll(script, ">&", "> ")+";", ";&")
		command := script[:end]
		background := end < len(script) && script[end] == '&'
		script = script[min(end+1, len(script)):]
		words := strings.Fields(os.Expand(command, func(name string) string { return sh.env[name] }))
		if len(words) == 0 || background { // which nobody would see run
			continue
		}
		out := sh.stdio.Stdout
		if words[len(words)-1] == ">&2" {
			words, out = words[:len(words)-1], sh.stdio.Stderr
		}
		code, exit, err := sh.command(ctx, words, out)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || exit {
			return code, err
		}
		status = code
	}
	return status, nil
}

// command runs one command. exit is true if it ends the shell.
func (sh *shell) command(ctx context.Context, words []string, out io.Writer) (code int, exit bool, err error) {
	number := func(i int) (n float64) {
		if i < len(words) {
			n, _ = strconv.ParseFloat(strings.TrimPrefix(words[i], "-"), 64)
		}
		return n
	}
	switch words[0] {
	case "true":
	case "echo":
		_, err = fmt.Fprintln(out, strings.Join(words[1:], " "))
	case "pwd":
		_, err = fmt.Fprintln(out, sh.dir)
	case "cat":
		_, err = io.Copy(out, sh.stdio.Stdin)
	case "head": // -c N /dev/zero
		_, err = io.CopyN(out, zeroes{}, int64(number(2)))
	case "sleep":
		select {
		case <-time.After(time.Duration(number(1) * float64(time.Second))):
		case <-ctx.Done():
		}
	case "exit":
		return int(number(1)), true, nil
	case "kill": // -N $$
		sh.signal = syscall.Signal(number(1))
		return 128 + int(number(1)), true, nil
	default:
		_, err = fmt.Fprintf(sh.stdio.Stderr, "%s: command not found\n", words[0])
		return 127, false, err
	}
	return 0, false, err
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
