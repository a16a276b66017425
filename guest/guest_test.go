package guest

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/guest/agent"
)

func TestMain(m *testing.M) {
	if os.Args[0] == agent.SFTPServer { // as in a guest, the agent is this program
		if err := agent.ServeSFTP(); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

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
