package mem_test

import (
	"context"
	"net"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/mem"
)

func TestGuest(t *testing.T) {
	conformance.TestGuest(t, func(t *testing.T) (coppice.Guest, conformance.Machine) {
		return mem.NewGuest(func(coppice.VMID) {}), conformance.Machine{
			Dial: func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				t.Cleanup(func() { far.Close() })
				return near, nil
			},
			User:     "user",
			Home:     "/home/user",
			RootHome: "/root",
		}
	})
}
