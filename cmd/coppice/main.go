// Command coppice keeps virtual machines on one Linux box: the daemon (serve),
// what sets it up and takes it away (up, down, purge, doctor), and the command
// line of its API (all else).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/client"
)

func main() {
	m := &Main{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	os.Exit(m.Do(os.Args[1:]))
}

// Main is the program: Parse a command line, Run it, Close what it left open.
// Each is called once, in this order.
type Main struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string

	config config
	apiURL string
	apiKey string
	json   bool

	run    func(context.Context) error // what Parse decided on; nil if there is nothing left to do
	daemon *daemon                     // what serve started
}

// Parse reads a command line and decides what Run does. Help, completions and
// the like are printed at once.
func (m *Main) Parse(args []string) error {
	root := m.root()
	root.SetArgs(args)
	root.SetIn(m.Stdin)
	root.SetOut(m.Stdout)
	root.SetErr(m.Stderr)
	return root.Execute()
}

// Run does what was parsed. Of the daemon it returns when its API answers.
func (m *Main) Run(ctx context.Context) error {
	if m.run == nil {
		return nil
	}
	return m.run(ctx)
}

// Close stops the daemon, if Run has started one; the VMs run on.
func (m *Main) Close() error {
	if m.daemon == nil {
		return nil
	}
	return m.daemon.Close()
}

// Do is the whole program, from its arguments to its exit status. The first
// signal to end lets it finish in order, the second ends it at once.
func (m *Main) Do(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if m.answerSSH(args) {
		return 0
	}
	err := m.Parse(args)
	if err == nil {
		err = m.Run(ctx)
	}
	if err == nil && m.daemon != nil {
		err = m.daemon.Wait(ctx)
	}
	return m.report(errors.Join(err, m.Close()))
}

// An exitStatus is an error of which everything has been said but the status
// that the program ends with.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// report says what went wrong and returns the program's exit status.
func (m *Main) report(err error) int {
	if err == nil {
		return 0
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	for line := range strings.Lines(explain(err)) {
		fmt.Fprintln(m.Stderr, "coppice:", strings.TrimSuffix(line, "\n"))
	}
	if errors.Is(err, client.ErrUnreachable) {
		fmt.Fprintln(m.Stderr, "Is the daemon running? Try: make up (or: coppice up)")
	}
	return 1
}

// explain says an error for people: the API's errors, wherever they are in it,
// without what is for the log.
func explain(err error) string {
	var inner []error
	switch e := err.(type) {
	case *coppice.Error:
		return fmt.Sprintf("%s (%s)", e.Message, e.Code)
	case interface{ Unwrap() []error }:
		inner = e.Unwrap()
	case interface{ Unwrap() error }:
		inner = []error{e.Unwrap()}
	}
	text := err.Error()
	for _, e := range inner {
		text = strings.Replace(text, e.Error(), explain(e), 1)
	}
	return text
}
