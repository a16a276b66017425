package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice/internal/host"
)

// What a reader of a page has, which the page says nothing of.
var readersHave = map[string]string{
	"README.md": "coppice create --name hello",
	"INGRESS.md": `coppice create --name hello
		coppice exec hello 'cd /root && nohup python3 -m http.server 3000 >/dev/null 2>&1 &'
		curl -fs --retry 60 "$(coppice open -n hello 3000)"`,
	"CLI.md": `coppice create --name hello
		coppice exec hello 'useradd -m deploy; cd /root && nohup python3 -m http.server 3000 >/dev/null 2>&1 &'
		mkdir src; echo notes >notes.txt`,
	"SSH.md": `coppice create --name hello
		coppice exec hello -- useradd -m deploy
		mkdir src; echo source >src/main.c`,
	"TERMINAL.md": `coppice create --name hello
		coppice exec hello -- useradd -m deploy`,
}

// npms is the page that needs a registry of npm's, which labs do not reach.
const npms = "SDK.md"

// What the documents tell a reader to type works, on a machine of the reader's
// own: all blocks of sh, but for those below <!-- not run: because -->.
func TestDocs(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var l *lab
	for _, page := range append(pages, "../README.md") {
		blocks := blocksToRun(t, page)
		if len(blocks) == 0 {
			continue
		}
		if l == nil {
			l = newLab(t) // where nobody else has the ports that the pages name
			l.start("--ingress-listen", "127.0.0.1:4780", "--ingress-tls-listen", "127.0.0.1:4743", "--ssh-listen", "127.0.0.1:2222")
			defer l.purge()
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			r := &reader{t: t, home: t.TempDir(), data: install.data}
			if filepath.Base(page) != npms {
				r.data, r.within = host.Dir(l.data), []string{"nsenter", "--net=/run/netns/" + l.ns}
			}
			r.sitDown()
			defer r.cleanUp()
			for _, block := range append([]string{readersHave[filepath.Base(page)]}, blocks...) {
				r.types(block)
			}
		})
	}
}

// blocksToRun returns the blocks of a document that are to be run.
func blocksToRun(t *testing.T, name string) (blocks []string) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var block strings.Builder
	excused, inside := "", false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		switch line := lines.Text(); {
		case inside && line == "```":
			if excused == "" {
				blocks = append(blocks, block.String())
			}
			excused, inside = "", false
			block.Reset()
		case inside:
			block.WriteString(line + "\n")
		case line == "```sh":
			inside = true
		case strings.HasPrefix(line, "    coppice ") || strings.HasPrefix(line, "    curl "):
			t.Errorf("%s: %q is not in a block of sh, and so not run", name, line)
		case strings.HasPrefix(line, "<!-- not run: ") && excused == "":
			excused = line
		case line != "" && excused != "":
			t.Errorf("%s: %s stands before no block of sh", name, excused)
			excused = ""
		}
	}
	if inside || excused != "" {
		t.Errorf("%s: its last block of sh is not there, or does not end", name)
	}
	return blocks
}

// A reader sits at a host, in a checkout, with a home directory.
type reader struct {
	t      *testing.T
	data   host.Dir
	within []string // what stands before a command that is run there
	home   string
	env    []string
	vms    []string // that were there before
}

// sitDown makes the reader's home.
func (r *reader) sitDown() {
	t := r.t
	t.Helper()
	tools := filepath.Join(r.home, "tools")
	credentials, err := r.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		// What a reader leaves, or ends with Ctrl-C, ends by itself after a while.
		"checkout/bin/coppice": fmt.Sprintf(`case $1 in
			forward | stats) timeout --preserve-status -s INT 3 %[1]s "$@" ;;
			mcp) timeout --preserve-status -s TERM 3 %[1]s "$@" ;;
			shell) while sleep 0.5; do printf 'q\nexit 0\n'; done | script -qec "%[1]s $*" /dev/null ;;
			*) exec %[1]s "$@" ;;
			esac`, install.program),
		// A reader who is asked whether that is the host says yes, and knows the password.
		"tools/ssh":     `exec /usr/bin/ssh -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=$HOME/known_hosts "$@"`,
		"tools/scp":     fmt.Sprintf(`exec /usr/bin/scp -S %s/ssh "$@"`, tools),
		"tools/sftp":    fmt.Sprintf(`exec /usr/bin/sftp -S %s/ssh "$@"`, tools),
		"tools/askpass": "echo " + credentials.Key,
	} {
		name = filepath.Join(r.home, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	checkout := filepath.Join(r.home, "checkout")
	do(t, "cp -r ../README.md ../docs %[1]s && mkdir %[2]s/.ssh && ssh-keygen -q -t ed25519 -N '' -C laptop -f %[2]s/.ssh/id_ed25519", checkout, r.home)
	r.env = append(os.Environ(), "HOME="+r.home, "PATH="+checkout+"/bin:"+tools+":"+os.Getenv("PATH"), "COPPICE_DATA="+string(r.data),
		"SSH_ASKPASS="+tools+"/askpass", "SSH_ASKPASS_REQUIRE=force")
	r.vms = strings.Fields(r.types("coppice ls -q"))
}

// types has a shell run a block, as a reader would who stops at what fails, and
// returns what it printed.
func (r *reader) types(block string) string {
	r.t.Helper()
	command := append(slices.Clone(r.within), "bash", "-euxo", "pipefail", "-c", block)
	shell := exec.CommandContext(deadline(r.t), command[0], command[1:]...)
	shell.Dir, shell.Env = filepath.Join(r.home, "checkout"), r.env
	var stderr strings.Builder
	shell.Stderr = &stderr
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // all that it has started ends with it
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	out, err := shell.Output()
	if err != nil {
		r.t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	return string(out)
}

// cleanUp deletes what the page has made and left.
func (r *reader) cleanUp() {
	for _, vm := range strings.Fields(r.types("coppice ls -q")) {
		if !slices.Contains(r.vms, vm) {
			r.types("coppice rm " + vm)
		}
	}
	r.types("coppice snapshot ls | awk 'NR > 1 {print $1}' | xargs -r coppice snapshot rm")
	r.types("coppice domain list | awk 'NR > 1 {print $1}' | xargs -r -n 1 coppice domain unmap")
	r.types("coppice ssh-keys list | awk 'NR > 1 {print $1}' | xargs -r -n 1 coppice ssh-keys remove")
}
