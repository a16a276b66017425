package main

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/pool"
)

func TestGauge(t *testing.T) {
	conformance.TestGauge(t, gauge{func(context.Context) (pool.Usage, error) {
		return pool.Usage{TotalBytes: 10 << 30, FreeBytes: 3 << 30}, nil
	}})
}

// A daemon's budget is known from its command line, also if that is another build's.
func TestBudgetOfADaemon(t *testing.T) {
	up, err := parse(environment("COPPICE_MEMORY_RESERVE", "0"), "up", "--memory-overcommit", "4", "--storage-reserve", "512M")
	if err != nil {
		t.Fatal(err)
	}
	told, err := toldTo(host.Process{Args: append(up.config.args(), "--new=flag")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(up.config, told, cmp.AllowUnexported(config{})); diff != "" {
		t.Error(diff)
	}
	got, err := told.budget()
	if want := (lifecycle.Budget{MemoryOvercommit: 4, StorageReserveMiB: 512}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestEvictionIsConfigured(t *testing.T) {
	m, err := parse(environment("COPPICE_EVICT_BELOW", "512M"), "serve", "--evict-until", "1G")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.config.eviction(); err != nil || got != (lifecycle.Eviction{BelowMiB: 512, UntilMiB: 1024}) {
		t.Errorf("%+v, %v", got, err)
	}
	m.config.evictUntil = "256M"
	if _, err := m.config.eviction(); err == nil {
		t.Error("evicting may end before it begins")
	}
}
