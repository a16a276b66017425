// Package examguest is the guest that hypervisors are examined with: a program
// that answers lines on the agent port. The twin in package mem runs it beside
// itself, real guests run it as process 1.
//
// A request is a line of a tag, a verb and maybe an argument; the answer is a
// line of the same tag and a result. Tags let a client skip what was left in
// the port when it was frozen in the middle of a line.
package examguest

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
)

// A Machine is what the program runs on.
type Machine interface {
	Keep(value string) error  // in memory
	Kept() (string, error)    // the last value kept
	Write(value string) error // to the disk, durably
	Read() (string, error)    // the last value written
	Print(line string) error  // on the serial console
	PowerOff() error
	Reboot() error
	Panic() error
}

// Serve answers requests until the stream ends.
func Serve(stream io.ReadWriter, m Machine) error {
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		tag, request, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			continue // half a line
		}
		verb, arg, _ := strings.Cut(request, " ")
		result, err := answer(m, verb, arg)
		if err != nil {
			result = "failed: " + err.Error()
		}
		if _, err := fmt.Fprintf(stream, "%s %s\n", tag, result); err != nil {
			return err
		}
	}
	return lines.Err()
}

func answer(m Machine, verb, arg string) (string, error) {
	switch verb {
	case "keep":
		return "", m.Keep(arg)
	case "kept":
		return m.Kept()
	case "write":
		return "", m.Write(arg)
	case "read":
		return m.Read()
	case "print":
		return "", m.Print(arg)
	case "poweroff":
		return "", m.PowerOff()
	case "reboot":
		return "", m.Reboot()
	case "panic":
		return "", m.Panic()
	}
	return "", fmt.Errorf("unknown verb %q", verb)
}

// Ask sends one request over conn and returns the result. A guest that ends
// because of the request may not answer: then the error is conn's.
func Ask(ctx context.Context, conn net.Conn, verb, arg string) (string, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	tag := rand.Text()
	// The empty line ends a request that an earlier client left half sent.
	if _, err := fmt.Fprintf(conn, "\n%s %s %s\n", tag, verb, arg); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		result, ok := strings.CutPrefix(lines.Text(), tag+" ")
		if !ok {
			continue
		}
		if reason, failed := strings.CutPrefix(result, "failed: "); failed {
			return "", fmt.Errorf("the guest failed to %s: %s", verb, reason)
		}
		return result, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", io.ErrUnexpectedEOF
}
