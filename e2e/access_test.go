package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice/client"
)

// A person is somebody at a command line with a secret.
type person struct {
	t      *testing.T
	secret string // empty is the data directory's key
}

// command returns a command of coppice's.
func (p person) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(deadline(p.t), install.program, args...)
	cmd.Env = os.Environ()
	if p.secret != "" {
		cmd.Env = append(cmd.Env, "COPPICE_API_KEY="+p.secret)
	}
	return cmd
}

// does runs a command that is to succeed, and returns what it printed.
func (p person) does(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("coppice %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// mayNot runs a command that is to be refused with a code.
func (p person) mayNot(code string, args ...string) {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "("+code+")") {
		p.t.Errorf("coppice %s: %v, want %s\n%s", strings.Join(args, " "), err, code, out)
	}
}

// begin runs a command in a VM that does not end by itself, and returns, once
// it runs there, what it will have printed.
func (p person) begin(vm, user, script string) (ended func() string) {
	p.t.Helper()
	owner := connect(p.t)
	cmd := p.command("exec", "--no-stdin", vm, "-u", user, "--", "sh", "-c", script)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	awaitRunning(p.t, owner, vm, script, true)
	return func() string {
		err := cmd.Wait()
		awaitRunning(p.t, owner, vm, script, false)
		if err == nil {
			p.t.Errorf("%q ended as if nothing had happened", script)
		}
		return out.String()
	}
}

// awaitRunning waits until there is a process in a VM whose command line is
// that, or until there is none.
func awaitRunning(t *testing.T, c *client.Client, vm, commandLine string, want bool) {
	t.Helper()
	find := "pgrep -x -f '" + commandLine + "' || true" // not the shell itself: -x
	for ctx := deadline(t); (sh(t, c, vm, find) != "") != want; {
		if ctx.Err() != nil {
			t.Fatalf("%q runs: %v, want %v", commandLine, !want, want)
		}
	}
}

// Keys, accounts and identities at the command line, with a real VM and its
// users; and what was given out and taken back outlives the daemon.
func TestAccess(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	sh(t, c, vm, "useradd -m deploy")
	owner := person{t: t}

	laptop, ci := person{t, owner.does("keys", "create", "laptop")}, person{t, owner.does("keys", "create", "ci")}
	bob := person{t, owner.does("account", "create", "bob")}
	id := owner.does("identity", "create")
	token := person{t, owner.does("identity", "token", id)}
	owner.does("identity", "grant", id, vm, "--user", "deploy")

	if got := laptop.does("exec", vm, "id -un"); got != "root" {
		t.Errorf("laptop is %q", got)
	}
	bob.mayNot("VM_NOT_FOUND", "exec", vm, "id -un")
	bob.mayNot("VM_NOT_FOUND", "get", vm)
	bob.mayNot("FORBIDDEN", "account", "list")
	if got := token.does("exec", vm, "-u", "deploy", "--", "sh", "-c", "id -un; pwd"); got != "deploy\n/home/deploy" {
		t.Errorf("the token is %q", got)
	}
	token.mayNot("FORBIDDEN", "exec", vm, "id -un")
	token.mayNot("FORBIDDEN", "rm", vm)

	// A key that is revoked takes with it what it began, and nothing else.
	ended := ci.begin(vm, "root", "sleep 1111")
	owner.does("keys", "revoke", "ci")
	if out := ended(); !strings.Contains(out, "UNAUTHORIZED_ERROR") {
		t.Errorf("the command of a revoked key ended with %q", out)
	}
	ci.mayNot("UNAUTHORIZED_ERROR", "ls")
	laptop.does("exec", vm, "true")

	kill(t, daemon(t))
	restartDaemon(t)
	ci.mayNot("UNAUTHORIZED_ERROR", "ls")
	laptop.does("exec", vm, "true")
	bob.mayNot("VM_NOT_FOUND", "get", vm)
	token.mayNot("FORBIDDEN", "exec", vm, "id -un")
	ended = token.begin(vm, "deploy", "sleep 2222")
	owner.does("identity", "delete", id)
	if out := ended(); !strings.Contains(out, "UNAUTHORIZED_ERROR") {
		t.Errorf("the command of a deleted identity ended with %q", out)
	}
	token.mayNot("UNAUTHORIZED_ERROR", "exec", vm, "-u", "deploy", "--", "true")
	owner.does("account", "delete", "bob")
	bob.mayNot("UNAUTHORIZED_ERROR", "ls")
}
