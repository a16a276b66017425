package agent

import (
	"errors"
	"io"
	"os"
	"runtime/debug"

	"github.com/pkg/sftp"
)

// SFTPServer is what this program is called when it is to [ServeSFTP]: its own
// binary is the one program that every guest has, and a process of the user's
// may do with files what the user may.
const SFTPServer = "coppice-sftp-server"

// ServeSFTP serves files by the SSH file transfer protocol on the standard
// input and output, until the input ends.
func ServeSFTP() error {
	os.WriteFile("/proc/self/comm", []byte(SFTPServer), 0) // only for people to see
	debug.SetGCPercent(50)
	server, err := sftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
	if err != nil {
		return err
	}
	if err := server.Serve(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
