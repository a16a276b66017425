package guest

import (
	"log/slog"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGuest(t *testing.T) {
	conformance.TestGuest(t, func(t *testing.T) (coppice.Guest, conformance.Machine) {
		m := boot(t)
		return New(slog.New(slog.DiscardHandler)), conformance.Machine{
			Dial:     m.dial,
			User:     "alice",
			Home:     filepath.Join(m.root, "home/alice"),
			RootHome: filepath.Join(m.root, "root"),
		}
	})
}
