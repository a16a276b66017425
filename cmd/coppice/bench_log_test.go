package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPausesInTheLog(t *testing.T) {
	for name, newHandler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var logged bytes.Buffer
		log := slog.New(newHandler(&logged))
		file := filepath.Join(t.TempDir(), "log")
		captured := func(vm string, pause time.Duration, err error) {
			log.InfoContext(context.Background(), "captured", "vm", vm, "pause", pause, "dirtyMiB", 6, "error", err)
		}
		captured("a", time.Millisecond, nil)
		if err := os.WriteFile(file, logged.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		since := daemonLog(file).end()
		captured("a", 30653475, nil)
		captured("b", 2*time.Millisecond, nil)
		log.Info("forked", "vm", "a")
		captured("a", 3*time.Millisecond, errors.New("pool full"))
		captured("a", 4*time.Second, nil)
		logged.WriteString("runtime: something that is not of slog\n")
		if err := os.WriteFile(file, logged.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := daemonLog(file).pauses(since, "a")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]time.Duration{30653475, 4 * time.Second}, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestNoLog(t *testing.T) {
	for _, l := range []daemonLog{"", daemonLog(filepath.Join(t.TempDir(), "log"))} {
		if got, err := l.pauses(l.end(), "a"); err != nil || got != nil {
			t.Errorf("%q: %v, %v", string(l), got, err)
		}
	}
}
