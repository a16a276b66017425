package qemu

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/coppice-vm/coppice"
)

// What the SHUTDOWN event says of a guest that ended itself.
const (
	guestShutdown = "guest-shutdown"
	guestReset    = "guest-reset"
)

// guestExit classifies the end of a guest that ended itself.
func (r *run) guestExit(how string) coppice.Exit {
	if how == guestShutdown {
		return coppice.Exit{Kind: coppice.ExitPowerOff, Detail: "the guest powered itself off"}
	}
	// A kernel that panicked resets the machine, as one that reboots does.
	console, err := tail(r.dir.console(), consoleBytes)
	if err != nil {
		r.log.Warn("read the console", "err", err)
	}
	if line, ok := panicLine(sinceRun(console, r.machine.Instance)); ok {
		return coppice.Exit{Kind: coppice.ExitPanic, Detail: line}
	}
	return coppice.Exit{Kind: coppice.ExitReboot, Detail: "the guest asked for a reset"}
}

// crash says how a process ended that nobody here killed.
func (r *run) crash() coppice.Exit {
	detail := "QEMU " + r.proc.ending()
	if said := r.dir.complaint(); said != "" {
		detail += ": " + said
	}
	return coppice.Exit{Kind: coppice.ExitCrash, Detail: detail}
}

// missedExit says how a guest ended while nobody listened: QEMU is in the same
// state after a power-off and a reset, but its log tells them apart.
func (d runDir) missedExit() string {
	for _, line := range d.logLines() {
		if strings.HasPrefix(line, powerOffTrace) {
			return guestShutdown
		}
	}
	return guestReset
}

// sinceRun returns what a console printed since a run began, or all of it if
// the beginning is not there any more.
func sinceRun(console []byte, id coppice.InstanceID) []byte {
	if at := bytes.LastIndex(console, []byte(runLine(id))); at >= 0 {
		return console[at:]
	}
	return console
}

// panicLine returns the message of a kernel panic on a console.
func panicLine(console []byte) (string, bool) {
	const mark = "Kernel panic - not syncing"
	at := bytes.Index(console, []byte(mark))
	if at < 0 {
		return "", false
	}
	line, _, _ := bytes.Cut(console[at:], []byte("\n"))
	const enough = 300
	return strings.ToValidUTF8(fmt.Sprintf("%.*s", enough, bytes.TrimSpace(line)), ""), true
}
