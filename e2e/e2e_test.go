// Package e2e tests the whole product on real VMs, in its users' words: the
// program as it is installed, its command line, its HTTP API, and the
// unmodified npm SDK.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/internal/nodetest"
)

// callDeadline bounds one call on a host that emulates its VMs.
const callDeadline = 3 * time.Minute

// install is what every test shares: the product, set up in a data directory of
// its own by its own set-up command.
var install struct {
	program string
	data    host.Dir
	ingress string // the address of VMs by HTTP
	ssh     string // and by SSH
	https   string // and by HTTPS
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (status int) {
	if testing.Short() {
		fmt.Println("SKIP: the tests on real VMs are not short")
		return 0
	}
	if os.Geteuid() != 0 {
		fmt.Println("FAIL: the tests on real VMs must be run by root")
		return 1
	}
	dir, err := os.MkdirTemp("", "coppice-e2e-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	install.program = filepath.Join(dir, "bin", "coppice")
	install.data = host.Dir(filepath.Join(dir, "data"))
	defer func() {
		if err := tearDown(); err != nil {
			fmt.Println("FAIL: tear down:", err)
			status = 1
		}
	}()
	if err := setUp(); err != nil {
		fmt.Println("FAIL: set up:", err)
		return 1
	}
	return m.Run()
}

// setUp builds the product and sets it up.
func setUp() error {
	for _, name := range []string{"coppice", "coppice-agent"} {
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
			"-o", filepath.Join(filepath.Dir(install.program), name), "../cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	if install.ingress, err = freePort(); err != nil {
		return err
	}
	if install.ssh, err = freePort(); err != nil {
		return err
	}
	if install.https, err = freePort(); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"COPPICE_DATA":   string(install.data),
		"COPPICE_EGRESS": "closed", // what they send stays on this machine
		// The same for every daemon of the tests.
		"COPPICE_LISTEN":             port,
		"COPPICE_INGRESS_LISTEN":     install.ingress,
		"COPPICE_INGRESS_TLS_LISTEN": install.https,
		"COPPICE_SSH_LISTEN":         install.ssh,
		"PATH":                       filepath.Dir(install.program) + ":" + os.Getenv("PATH"),
	} {
		os.Setenv(name, value)
	}
	for _, name := range []string{"COPPICE_API_URL", "COPPICE_API_KEY", "FREESTYLE_API_URL", "FREESTYLE_API_KEY"} {
		os.Unsetenv(name)
	}
	up := exec.Command(install.program, "up")
	up.Stdout, up.Stderr = os.Stdout, os.Stderr
	return up.Run()
}

// freePort returns an address that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// restartDaemon starts a daemon in place of one that was killed.
func restartDaemon(t *testing.T) {
	t.Helper()
	ctx := deadline(t)
	if out, err := exec.CommandContext(ctx, install.program, "up").CombinedOutput(); err != nil {
		t.Fatalf("up: %v\n%s", err, out)
	}
}

// tearDown removes what setUp and the tests made, and says what is left all the same.
func tearDown() error {
	if _, err := os.Stat(install.program); err != nil {
		return nil // nothing was ever set up
	}
	purge := exec.Command(install.program, "purge", "--yes", "--keep-cache")
	if out, err := purge.CombinedOutput(); err != nil {
		return fmt.Errorf("coppice purge: %w\n%s", err, out)
	}
	return remains(string(install.data))
}

// remains returns an error that lists the processes, mounts, loop devices and
// files that have to do with a data directory.
func remains(data string) error {
	var left []string
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range commands {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(data)) {
			left = append(left, "process "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	for _, name := range []string{"/proc/self/mounts", "/proc/swaps"} {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(data)) {
			left = append(left, "a mount in "+name)
		}
	}
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, name := range backing {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(data)) {
			left = append(left, "loop device of "+string(b))
		}
	}
	files, _ := filepath.Glob(data + "*")
	left = append(left, files...)
	if len(left) > 0 {
		return fmt.Errorf("this is left of %s:\n%s", data, strings.Join(left, "\n"))
	}
	return nil
}

// connect returns a client with the credentials that up left. The test ends with
// an audit, after what it has made is gone.
func connect(t *testing.T) *client.Client {
	t.Helper()
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(credentials.URL, credentials.Key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	audited(t, c)
	return c
}

// deadline returns the context of one call.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), callDeadline)
	t.Cleanup(cancel)
	return ctx
}

// never is the idle timeout of VMs that are not to be reclaimed, however long a
// slow host takes for what a test does elsewhere meanwhile.
var never = api.IdleTimeout{Set: true}

// create makes a VM that goes with the test.
func create(t *testing.T, c *client.Client) string {
	t.Helper()
	vm, err := c.Create(deadline(t), api.CreateVM{VMSpec: api.VMSpec{IdleTimeoutSeconds: never}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, c, vm.ID) })
	return vm.ID
}

// remove deletes a VM, which may have been deleted already, by whatever daemon
// there is now.
func remove(t *testing.T, c *client.Client, vm string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callDeadline)
	defer cancel()
	if _, err := c.Delete(ctx, vm); err != nil {
		t.Errorf("delete %s: %v", vm, err)
	}
}

// sh runs a script in a VM, which is to succeed, and returns what it printed.
func sh(t *testing.T, c *client.Client, vm, script string) string {
	t.Helper()
	result, err := c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: script})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	if result.StatusCode != 0 {
		t.Fatalf("%s: status %d\n%s%s", script, result.StatusCode, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(callDeadline); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not become so that %s", what)
		}
	}
}

// awaitState waits until the API shows a VM in a state.
func awaitState(t *testing.T, c *client.Client, vm string, want api.State) api.VM {
	t.Helper()
	return awaitVM(t, c, vm, "is "+string(want), func(info api.VM) bool { return info.State == want })
}

// awaitVM waits until the API shows a VM as it is wanted.
func awaitVM(t *testing.T, c *client.Client, vm, what string, wanted func(api.VM) bool) (info api.VM) {
	t.Helper()
	var err error
	so := false
	defer func() {
		if !so {
			t.Logf("it is %+v, %v", info, err)
		}
	}()
	await(t, "VM "+vm+" "+what, func() bool {
		info, err = c.VM(deadline(t), vm)
		so = err == nil && wanted(info)
		return so
	})
	return info
}

// converse runs a script in a VM that answers lines with lines. Closing in ends
// it; wait returns when it has ended.
func converse(t *testing.T, c *client.Client, vm, script string) (in io.WriteCloser, answers *bufio.Scanner, wait func()) {
	t.Helper()
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	ended := make(chan struct{})
	ctx := deadline(t)
	go func() {
		defer close(ended)
		_, err := c.Exec(ctx, vm, coppice.ExecSpec{Command: script}, coppice.Stdio{Stdin: stdin, Stdout: stdout})
		stdout.CloseWithError(err)
	}()
	return in, bufio.NewScanner(out), func() { <-ended }
}

// sdk runs tests in npm, with the SDK and what it needs.
func sdk(t *testing.T, tests ...string) {
	t.Helper()
	connect(t) // and with it, an audit at the end
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	nodetest.Run(t, "npm", []string{"FREESTYLE_API_URL=" + credentials.URL, "FREESTYLE_API_KEY=" + credentials.Key}, tests...)
}
