package mem_test

import (
	"testing"

	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/mem"
)

func TestGauge(t *testing.T) { conformance.TestGauge(t, mem.NewGauge()) }
