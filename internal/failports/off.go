//go:build !failpoints

package failports

import (
	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

// Store puts points around a store; nil is the life of the process, here and below.
func Store(_ *failpoint.Life, s coppice.Store) coppice.Store { return s }

// Captures puts points around what remembers captures.
func Captures(_ *failpoint.Life, c coppice.Captures) coppice.Captures { return c }

// Pool puts points around a pool.
func Pool(_ *failpoint.Life, p coppice.Pool) coppice.Pool { return p }

// Hypervisor puts points around a hypervisor and its runs.
func Hypervisor(_ *failpoint.Life, h coppice.Hypervisor) coppice.Hypervisor { return h }

// Network puts points around networks.
func Network(_ *failpoint.Life, n coppice.Network) coppice.Network { return n }

// Guest puts points around what the host asks of guests.
func Guest(_ *failpoint.Life, g coppice.Guest) coppice.Guest { return g }

// Gauge puts a point before every look at the gauge.
func Gauge(_ *failpoint.Life, g coppice.Gauge) coppice.Gauge { return g }
