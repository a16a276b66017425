// Command coppice-agent is the one program of a guest's initrd: as process 1 it
// boots the guest, otherwise it is the guest's agent, or serves a user's files for it.
package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/guest/agent"
	"github.com/coppice-vm/coppice/guest/boot"
)

func main() {
	var err error
	switch {
	case os.Getpid() == 1:
		err = boot.Run()
	case os.Args[0] == agent.SFTPServer:
		if err = agent.ServeSFTP(); err == nil {
			return
		}
	default:
		err = runAgent()
	}
	fmt.Fprintln(os.Stderr, "coppice-agent:", err)
	os.Exit(1)
}

func runAgent() error {
	os.WriteFile("/proc/self/comm", []byte("coppice-agent"), 0) // else it is "exe"; only for people to see
	unix.CloseOnExec(boot.ReadyFD)
	ready := os.NewFile(boot.ReadyFD, "ready")
	return agent.Run(context.Background(), func() {
		ready.Write([]byte{1}) // a boot that has stopped waiting does not mind
		ready.Close()
	})
}
