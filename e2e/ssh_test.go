package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// An sshUser runs the programs of OpenSSH against the gateway, as somebody who
// has its host key and one secret.
type sshUser struct {
	t          *testing.T
	dir        string
	host, port string
	password   string // empty: none is given
}

// newSSHUser returns somebody who knows the installation's gateway.
func newSSHUser(t *testing.T) *sshUser {
	t.Helper()
	u := &sshUser{t: t, dir: t.TempDir()}
	var err error
	if u.host, u.port, err = net.SplitHostPort(install.ssh); err != nil {
		t.Fatal(err)
	}
	key, err := install.data.HostKey()
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	u.password = credentials.Key
	u.write("known_hosts", 0o600, fmt.Sprintf("[%s]:%s %s", u.host, u.port, ssh.MarshalAuthorizedKey(key.PublicKey())))
	u.write("askpass", 0o700, "#!/bin/sh\necho \"$PASSWORD\"\n")
	u.write("config", 0o600, fmt.Sprintf("Host *\nPort %s\nUserKnownHostsFile %s\nStrictHostKeyChecking yes\nIdentityFile none\nNumberOfPasswordPrompts 1\nLogLevel ERROR\n",
		u.port, u.file("known_hosts")))
	return u
}

// in returns the same one in a subtest.
func (u *sshUser) in(t *testing.T) *sshUser {
	same := *u
	same.t = t
	return &same
}

func (u *sshUser) file(name string) string { return filepath.Join(u.dir, name) }

func (u *sshUser) write(name string, mode os.FileMode, content string) {
	u.t.Helper()
	if err := os.WriteFile(u.file(name), []byte(content), mode); err != nil {
		u.t.Fatal(err)
	}
}

// at is how a VM is named to ssh.
func (u *sshUser) at(vm string) string { return vm + "@" + u.host }

// command returns a program of OpenSSH's, or one that runs ssh.
func (u *sshUser) command(program string, args ...string) *exec.Cmd {
	config := []string{"-F", u.file("config")}
	if program == "rsync" {
		config = []string{"-e", "ssh -F " + u.file("config")}
	}
	cmd := exec.CommandContext(deadline(u.t), program, append(config, args...)...)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+u.file("askpass"), "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none", "PASSWORD="+u.password)
	if u.password == "" {
		cmd.Env = append(os.Environ(), "SSH_ASKPASS=/bin/false", "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none")
	}
	return cmd
}

// run runs a program, which is to succeed, and returns its output.
func (u *sshUser) run(program string, args ...string) string {
	u.t.Helper()
	cmd := u.command(program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		u.t.Fatalf("%s: %v\n%s%s", cmd, err, out, &stderr)
	}
	return string(out)
}

// fail runs a program, which is to fail with a status, and returns all that it says.
func (u *sshUser) fail(status int, program string, args ...string) string {
	u.t.Helper()
	cmd := u.command(program, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != status {
		u.t.Errorf("%s: %v, want status %d\n%s", cmd, err, status, out)
	}
	return string(out)
}

// A VM by OpenSSH's programs.
func TestSSH(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	sh(t, c, vm, "useradd -m -s /bin/bash alice")
	u := newSSHUser(t)

	t.Run("exec", func(t *testing.T) { testSSHExec(t, u.in(t), vm) })
	t.Run("files", func(t *testing.T) { testSSHFiles(t, u.in(t), vm) })
	t.Run("ports", func(t *testing.T) { testSSHPorts(t, u.in(t), c, vm) })
	t.Run("agent", func(t *testing.T) { testSSHAgent(t, u.in(t), c, vm) })
	t.Run("wake", func(t *testing.T) {
		if _, err := c.Suspend(deadline(t), vm); err != nil {
			t.Fatal(err)
		}
		if out := u.run("ssh", u.at(vm), "echo awake"); out != "awake\n" {
			t.Errorf("the command that woke it said %q", out)
		}
	})
	t.Run("shell", func(t *testing.T) { testSSHShell(t, u.in(t), c, vm) })
	t.Run("who", func(t *testing.T) { testSSHWho(t, u.in(t), c, vm) })
}

func testSSHExec(t *testing.T, u *sshUser, vm string) {
	if out := u.run("ssh", u.at(vm), "id -un; pwd; tty || true"); out != "root\n/root\nnot a tty\n" {
		t.Errorf("root is %q", out)
	}
	if out := u.run("ssh", u.at(vm+"+alice"), "id -un; pwd"); out != "alice\n/home/alice\n" {
		t.Errorf("alice is %q", out)
	}
	if out := u.fail(7, "ssh", u.at(vm), "echo oops >&2; exit 7"); out != "oops\n" {
		t.Errorf("it says %q", out)
	}
	if out := u.fail(255, "ssh", u.at(vm+"+bob"), "true"); !strings.Contains(out, `no such user in the guest: "bob"`) {
		t.Errorf("as nobody: %q", out)
	}
	// With nothing set up, by the program itself.
	easy := exec.CommandContext(deadline(u.t), install.program, "ssh", "-u", "alice", vm, "--", "id -un; exit 4")
	easy.Env = append(os.Environ(), "HOME="+u.dir)
	if out, _ := easy.CombinedOutput(); string(out) != "alice\n" || easy.ProcessState.ExitCode() != 4 {
		t.Errorf("coppice ssh: %v, %s", easy.ProcessState, out)
	}
	cmd := u.command("ssh", "-o", "SetEnv=GREETING=hello", u.at(vm), "echo $GREETING; cat; echo over >&2")
	cmd.Stdin = strings.NewReader("from here\n")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "hello\nfrom here\nover\n" {
		t.Errorf("env and standard streams: %q, %v", out, err)
	}
	// A script without a terminal, by the login shell.
	cmd = u.command("ssh", "-T", u.at(vm+"+alice"))
	cmd.Stdin = strings.NewReader("shopt -q login_shell && echo login $USER\nexit 3\n")
	if out, _ := cmd.CombinedOutput(); string(out) != "login alice\n" || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("a shell that reads a script: %q, %v", out, cmd.ProcessState)
	}
}

// A sshShell is an ssh with a terminal, which somebody types into.
type sshShell struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	shown *bufio.Scanner
	errs  strings.Builder
}

func (u *sshUser) shell(args ...string) *sshShell {
	u.t.Helper()
	s := &sshShell{t: u.t, cmd: u.command("ssh", append([]string{"-tt"}, args...)...)}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		u.t.Fatal(err)
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		u.t.Fatal(err)
	}
	s.cmd.Stderr = &s.errs
	s.shown = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	return s
}

// ask types a script that prints some words, and returns them.
func (s *sshShell) ask(script string) string {
	s.t.Helper()
	fmt.Fprintf(s.in, "echo \"<\"$(%s)\">\"\r", script)
	for s.shown.Scan() {
		line := s.shown.Text()
		if i := strings.LastIndex(line, "<"); i >= 0 && strings.HasSuffix(line, ">") && !strings.Contains(line, "$(") {
			return line[i+1 : len(line)-1]
		}
	}
	s.t.Fatalf("the shell ended: %v, %s", s.shown.Err(), &s.errs)
	return ""
}

func testSSHShell(t *testing.T, u *sshUser, c *client.Client, vm string) {
	alice := u.at(vm + "+alice")
	cmd := u.command("ssh", "-tt", alice, "tty; stty size; echo $TERM $USER; exit 5")
	cmd.Env = append(cmd.Env, "TERM=vt220")
	out, _ := cmd.CombinedOutput()
	if got := strings.Fields(string(out)); cmd.ProcessState.ExitCode() != 5 || len(got) < 5 || !strings.HasPrefix(got[0], "/dev/pts/") || strings.Join(got[1:5], " ") != "24 80 vt220 alice" {
		t.Errorf("a command in a terminal: %v, %s", cmd.ProcessState, out)
	}
	s := u.shell(alice)
	if got := s.ask("shopt -q login_shell && echo login; id -un; pwd"); got != "login alice /home/alice" {
		t.Errorf("the shell is %q", got)
	}
	mark := s.ask("echo $$")

	// A fork copies the shell; the one that is typed into goes on.
	forked, err := c.Fork(deadline(t), vm, api.ForkVM{})
	if err != nil {
		t.Fatal(err)
	}
	child := forked.Forks[0].ID
	t.Cleanup(func() { remove(t, c, child) })
	if got := s.ask("echo $$; echo after the fork"); got != mark+" after the fork" {
		t.Errorf("after the fork: %q", got)
	}
	if got := sh(t, c, child, "ps -o user= -p "+mark); got != "alice\n" {
		t.Errorf("in the child the shell is %q", got)
	}

	// A login at which nothing moves keeps nothing awake: asleep and awake, with
	// the same shell.
	idle := func(timeout *float64) {
		t.Helper()
		if _, err := c.Start(deadline(t), vm, api.StartVM{IdleTimeoutSeconds: api.IdleTimeout{Set: true, Seconds: timeout}}); err != nil {
			t.Fatal(err)
		}
	}
	seconds := 2.0
	idle(&seconds)
	awaitState(t, c, vm, api.Suspended)
	if got := s.ask("echo $$; echo after the sleep"); got != mark+" after the sleep" {
		t.Errorf("after the sleep: %q", got)
	}
	idle(nil) // which is never
	if !strings.Contains(s.errs.String(), "waking "+vm) {
		t.Errorf("nothing was said of the wake: %q", &s.errs)
	}

	// Whatever is typed while it falls asleep, and at whatever moment, is typed once.
	over := make(chan struct{})
	go func() {
		defer close(over)
		for s.shown.Scan() && !strings.Contains(s.shown.Text(), "over-"+mark) {
		}
	}()
	typed := ""
	for range 3 {
		sh(t, c, vm, "true") // which wakes it
		asleep := make(chan error, 1)
		go func() {
			_, err := c.Suspend(deadline(t), vm)
			asleep <- err
		}()
		for done := false; !done; {
			line := fmt.Sprint(strings.Count(typed, "\n"))
			fmt.Fprintf(s.in, "echo %s >>typed\r", line)
			typed += line + "\n"
			select {
			case err := <-asleep:
				if done = true; err != nil {
					t.Fatal(err)
				}
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	io.WriteString(s.in, "echo over-$$\r") // which wakes it
	select {
	case <-over:
	case <-deadline(t).Done():
		t.Fatalf("what was typed does not wake the VM: %s", &s.errs)
	}
	if got := sh(t, c, vm, "cat ~alice/typed"); got != typed {
		t.Errorf("of what was typed while it fell asleep came %q, want %q", got, typed)
	}

	// Nothing is left of it when the connection is.
	s.cmd.Process.Kill()
	s.cmd.Wait()
	sh(t, c, vm, "timeout 60 sh -c 'while kill -0 "+mark+" 2>/dev/null; do sleep 0.1; done'")

	// But of one that has a name.
	named := u.shell("-o", "SetEnv=COPPICE_TERMINAL=work", alice)
	mark = named.ask("echo $$")
	named.cmd.Process.Kill()
	named.cmd.Wait()
	named = u.shell("-o", "SetEnv=COPPICE_TERMINAL=work", alice)
	if got := named.ask("echo $$"); got != mark {
		t.Errorf("the terminal with a name is another: %q, not %q", got, mark)
	}
	io.WriteString(named.in, "exit 3\r")
	for named.shown.Scan() {
	}
	named.cmd.Wait()
	if got := named.cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("the shell ended with %d", got)
	}
	u.fail(255, "ssh", u.at(vm), "kill -9 $$") // as ssh has it for a signal
}

func testSSHFiles(t *testing.T, u *sshUser, vm string) {
	content := make([]byte, 5<<20)
	rand.Read(content)
	u.write("tree", 0o700, "")
	if err := os.Remove(u.file("tree")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(u.file("tree/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	u.write("tree/deep/a file", 0o640, string(content))
	u.write("tree/run", 0o755, "#!/bin/sh\n")
	back := func(name string) {
		t.Helper()
		if got, err := os.ReadFile(u.file(name + "/deep/a file")); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes came back, %v", name, len(got), err)
		}
		if info, err := os.Stat(u.file(name + "/run")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: the program came back as %v, %v", name, info, err)
		}
	}
	alice := u.at(vm + "+alice")
	u.run("scp", "-r", "-p", u.file("tree"), alice+":by-sftp")
	if out := u.run("ssh", alice, "stat -c '%U %a %s' 'by-sftp/deep/a file' by-sftp/run"); out != fmt.Sprintf("alice 640 %d\nalice 755 10\n", len(content)) {
		t.Errorf("after scp: %q", out)
	}
	u.run("scp", "-r", "-p", alice+":by-sftp", u.file("1"))
	back("1")
	u.run("scp", "-O", "-r", "-p", u.file("tree"), alice+":by-scp")
	u.run("scp", "-O", "-r", "-p", alice+":by-scp", u.file("2"))
	back("2")
	u.run("rsync", "-a", u.file("tree")+"/", alice+":by-rsync")
	u.run("rsync", "-a", alice+":by-rsync/", u.file("3"))
	back("3")
	if out := u.run("rsync", "-ai", u.file("tree")+"/", alice+":by-rsync"); out != "" {
		t.Errorf("rsync again: %q", out)
	}
	u.write("batch", 0o600, strings.Join([]string{
		"mkdir dir", "put " + u.file("tree/run") + " dir/program", "chmod 700 dir/program", "rename dir/program dir/tool",
		"ln -s tool dir/link", "ls -l dir", "get dir/tool " + u.file("tool"), "rm dir/tool", "rm dir/link", "rmdir dir", "df",
	}, "\n"))
	out := u.run("sftp", "-o", "BatchMode=no", "-b", u.file("batch"), alice)
	if !strings.Contains(out, "-rwx------") || !strings.Contains(out, "link") {
		t.Errorf("sftp: %s", out)
	}
	if out := u.fail(1, "scp", u.at(vm+"+alice")+":/etc/shadow", u.file("shadow")); !strings.Contains(out, "ermission denied") {
		t.Errorf("another's file: %s", out)
	}
}

// web serves a word, and returns where.
func web(t *testing.T, word string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, word) }))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func testSSHPorts(t *testing.T, u *sshUser, c *client.Client, vm string) {
	sh(t, c, vm, `mkdir -p /srv/www; echo inside >/srv/www/index.html
systemd-run -q python3 -m http.server -d /srv/www -b 127.0.0.1 8000
until curl -s 127.0.0.1:8000 >/dev/null; do sleep 0.1; done`)
	local, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	_, localPort, _ := net.SplitHostPort(local)
	const script = "echo ready; cat; curl -s 127.0.0.1:8001; curl -s --unix-socket /tmp/web.sock http://outside/"
	cmd := u.command("ssh", "-o", "ExitOnForwardFailure=yes", "-L", local+":localhost:8000", "-L", u.file("sock")+":localhost:8000",
		"-R", "8001:"+web(t, "outside\n"), "-R", "/tmp/web.sock:"+web(t, "by a socket\n"), u.at(vm), script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"http://127.0.0.1:" + localPort}, {"--unix-socket", u.file("sock"), "http://inside/"}} {
		if got, err := exec.CommandContext(deadline(t), "curl", append([]string{"-sS"}, args...)...).CombinedOutput(); err != nil || string(got) != "inside\n" {
			t.Errorf("-L: %q, %v", got, err)
		}
	}
	in.Close()
	if got, err := io.ReadAll(out); err != nil || string(got) != "outside\nby a socket\n" {
		t.Errorf("-R: %q, %v", got, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if got := u.fail(255, "ssh", "-W", "localhost:9", u.at(vm)); !strings.Contains(got, "forwarding failed") {
		t.Errorf("where nobody listens: %s", got)
	}
}

func testSSHAgent(t *testing.T, u *sshUser, c *client.Client, vm string) {
	key := u.file("id")
	if out, err := exec.CommandContext(deadline(t), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of the client", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	agent := exec.Command("ssh-agent", "-D", "-a", u.file("agent"))
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer agent.Wait()
	defer agent.Process.Kill()
	env := "SSH_AUTH_SOCK=" + u.file("agent")
	for ctx := deadline(t); ; {
		add := exec.CommandContext(ctx, "ssh-add", "-q", key)
		add.Env = append(os.Environ(), env)
		out, err := add.CombinedOutput()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("ssh-add: %v\n%s", err, out)
		}
	}
	// The guest needs no OpenSSH to ask an agent: the request for its keys is 5 bytes.
	const list = `python3 -c '
import os, socket
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["SSH_AUTH_SOCK"]); s.send(b"\0\0\0\1\13")
print(b"of the client" in s.recv(4096), oct(os.stat(os.environ["SSH_AUTH_SOCK"]).st_mode & 0o777), os.environ["SSH_AUTH_SOCK"])'`
	cmd := u.command("ssh", "-A", u.at(vm+"+alice"), list)
	cmd.Env = append(cmd.Env, env)
	out, err := cmd.CombinedOutput()
	answer := strings.Fields(string(out))
	if err != nil || len(answer) != 3 || answer[0] != "True" || answer[1] != "0o600" {
		t.Fatalf("the agent: %s, %v", out, err)
	}
	if out := u.run("ssh", u.at(vm), "ls "+answer[2]+" 2>/dev/null || echo gone; echo ${SSH_AUTH_SOCK-none}"); out != "gone\nnone\n" {
		t.Errorf("after the session: %q", out)
	}

	// Over the VM to a server that only it reaches: its own.
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	// Registered, it lets in with no password.
	registered, err := c.AddSSHKey(deadline(t), api.AddSSHKey{PublicKey: string(public)})
	if err != nil {
		t.Fatal(err)
	}
	byKey := u.in(t)
	byKey.password = ""
	if out := byKey.run("ssh", "-i", key, u.at(vm+"+alice"), "id -un"); out != "alice\n" {
		t.Errorf("by a key: %q", out)
	}
	if err := c.RemoveSSHKey(deadline(t), registered.ID); err != nil {
		t.Fatal(err)
	}
	byKey.fail(255, "ssh", "-i", key, u.at(vm+"+alice"), "true")
	u.run("ssh", u.at(vm+"+alice"), "mkdir -m 700 .ssh; echo '"+strings.TrimSpace(string(public))+"' >.ssh/authorized_keys")
	u.run("ssh", u.at(vm), "systemctl start ssh")
	if out := u.run("ssh", "-i", key, "-o", "StrictHostKeyChecking=no", "-J", u.at(vm)+":"+u.port, "-p", "22", "alice@localhost", "id -un; echo $SSH_CONNECTION"); !strings.HasPrefix(out, "alice\n") {
		t.Errorf("-J: %q", out)
	}
}

// Who gets in, by which words, and as whom.
func testSSHWho(t *testing.T, u *sshUser, c *client.Client, vm string) {
	nobody := *u
	nobody.password = ""
	key, _ := install.data.ReadCredentials()
	identity, err := c.CreateIdentity(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.CreateToken(deadline(t), identity.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Grant(deadline(t), identity.ID, vm, []string{"alice"}); err != nil {
		t.Fatal(err)
	}
	// As the npm client's command line has it: no password, no key.
	for user, want := range map[string]string{
		vm + ":" + key.Key:            "root\n",
		vm + "+alice," + token.Secret: "alice\n",
		vm + "+alice:" + token.Secret: "alice\n",
		vm + "+nobody," + key.Key:     "nobody\n",
	} {
		if out := nobody.run("ssh", "-l", user, u.host, "id -un"); out != want {
			t.Errorf("%s: %q", user, out)
		}
	}
	u.write("note", 0o600, "a note\n")
	nobody.run("scp", u.file("note"), vm+"+alice,"+token.Secret+"@"+u.host+":note")
	if out := nobody.fail(255, "ssh", "-l", vm+":"+token.Secret, u.host, "id -un"); !strings.Contains(out, "may not act as root") {
		t.Errorf("a token as root: %s", out)
	}
	bearer := *u
	bearer.password = token.Secret
	if out := bearer.run("ssh", u.at(vm+"+alice"), "cat note"); out != "a note\n" {
		t.Errorf("what scp wrote: %q", out)
	}
	// Revoked, a token ends what it let in.
	cmd := bearer.command("ssh", u.at(vm+"+alice"), "echo in; sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("in\n"))); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteIdentity(deadline(t), identity.ID); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "revoked") {
		t.Errorf("after the token was revoked: %v, %s", err, &said)
	}
	if out := bearer.fail(255, "ssh", u.at(vm+"+alice"), "true"); !strings.Contains(out, "Permission denied") {
		t.Errorf("a revoked token: %s", out)
	}

	// Who does not know the password may try for a while. Others may all the same.
	stranger := *u
	stranger.password = "cpk_wrong"
	for i := 0; ; i++ {
		out := stranger.fail(255, "ssh", "-b", "127.0.0.9", u.at(vm), "true")
		if !strings.Contains(out, "Permission denied") {
			if i < 3 || i > 20 {
				t.Errorf("after %d wrong passwords: %s", i, out)
			}
			break
		}
	}
	if out := u.run("ssh", u.at(vm), "echo in"); out != "in\n" {
		t.Errorf("from another address: %q", out)
	}
	if log, err := os.ReadFile(install.data.Log()); err != nil || !bytes.Contains(log, []byte("login refused")) || bytes.Contains(log, []byte(token.Secret)) {
		t.Errorf("the log says too little or too much of logins: %v", err)
	}
}
