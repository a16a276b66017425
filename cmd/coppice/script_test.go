package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"coppice": main})
}

// TestScripts is the program as its user meets it, against a host whose VMs are
// in memory. Scripts in testdata/script/alone have no host.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: scriptCommands,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "guest")
			if err := os.MkdirAll(home, 0o755); err != nil {
				return err
			}
			c := serveTwin(env.T().(testing.TB), home)
			env.Setenv("COPPICE_API_URL", c.URL)
			env.Setenv("COPPICE_API_KEY", c.Key)
			env.Setenv("COPPICE_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("API_PORT", c.URL[strings.LastIndexByte(c.URL, ':')+1:])
			return nil
		},
	})
}

func TestScriptsAlone(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script/alone",
		Cmds: scriptCommands,
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, errors.New("no such condition")
			}
			return os.Geteuid() == 0, nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("COPPICE_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("COPPICE_CACHE", filepath.Join(env.WorkDir, "cache"))
			return nil
		},
	})
}

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// exits STATUS PROGRAM ARG... runs a program that is to exit with STATUS.
	"exits": func(ts *testscript.TestScript, _ bool, args []string) {
		err := ts.Exec(args[1], args[2:]...)
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || strconv.Itoa(exit.ExitCode()) != args[0] {
			ts.Fatalf("want exit status %s, got %v", args[0], err)
		}
	},
	// await FILE waits until there is something in a file.
	"await": func(ts *testscript.TestScript, _ bool, args []string) {
		await(ts, args[0], func(content string) bool { return strings.HasSuffix(content, "\n") })
	},
	// gone FILE waits until there is no process of the id in a file.
	"gone": func(ts *testscript.TestScript, _ bool, args []string) {
		await(ts, args[0], func(content string) bool {
			pid, err := strconv.Atoi(strings.TrimSpace(content))
			ts.Check(err)
			return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
		})
	},
}

// await waits until what a file has is as it should be.
func await(ts *testscript.TestScript, name string, ok func(content string) bool) {
	const limit = 30 * time.Second
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if content, err := os.ReadFile(ts.MkAbs(name)); err == nil && ok(string(content)) {
			return
		}
	}
	ts.Fatalf("%s is not as it should be after %s", name, limit)
}
