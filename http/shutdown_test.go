package http

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/client"
)

func TestShutdown(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	c := h.client()
	awaited, ran := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Await(context.Background(), id)
		awaited <- err
	}()
	<-h.vms.awaiting
	began := make(chan struct{})
	go func() {
		_, err := c.Exec(context.Background(), id, coppice.ExecSpec{Command: "echo began; sleep 0.5; echo ended"},
			coppice.Stdio{Stdout: writerFunc(func(p []byte) (int, error) {
				if strings.Contains(string(p), "began") {
					close(began)
				}
				return len(p), nil
			})})
		ran <- err
	}()
	<-began
	if err := h.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-awaited; coppice.CodeOf(err) != coppice.CodeUnavailable {
		t.Errorf("await: %v", err)
	}
	if err := <-ran; err != nil {
		t.Errorf("exec: %v", err)
	}
	if _, err := c.WhoAmI(t.Context()); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("after the end: %v", err)
	}
}

func TestShutdownCutsOff(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	c := h.client()
	ran := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		_, err := c.Exec(context.Background(), id, coppice.ExecSpec{Command: "echo began; sleep 1000"},
			coppice.Stdio{Stdout: writerFunc(func(p []byte) (int, error) {
				close(began)
				return len(p), nil
			})})
		ran <- err
	}()
	<-began
	cutOff(t, h, ran)
}

// A command that somebody waits for in one call is answered when it is cut off.
func TestShutdownCutsOffExecAwait(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	c := h.client()
	began := filepath.Join(t.TempDir(), "began")
	ran := make(chan error, 1)
	go func() {
		_, err := c.ExecAwait(context.Background(), id, coppice.ExecSpec{Command: "touch " + began + "; sleep 1000"})
		ran <- err
	}()
	for end := time.Now().Add(soon); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(began); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the command does not begin")
		}
	}
	cutOff(t, h, ran)
}

// cutOff has the server leave without waiting, and examines what the command
// that runs is told.
func cutOff(t *testing.T, h *harness, ran <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-ran; coppice.CodeOf(err) != coppice.CodeUnavailable {
		t.Errorf("exec: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
