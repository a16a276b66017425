// Command standin is taken for QEMU where a trial of KVM is tested: it knows its
// version, and otherwise fails in the way that it was built for.
package main

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// way is set when it is linked.
var way string

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("QEMU 1.0")
		return
	}
	switch way {
	case "crashes":
		fmt.Fprintln(os.Stderr, "cannot set the MSR")
		crash()
	case "fails":
		fmt.Fprintln(os.Stderr, "no KVM here, at", time.Now().UnixNano())
		os.Exit(1)
	case "hangs":
		time.Sleep(time.Hour)
	}
}

// crash ends the program as a fault ends one that does not expect it.
func crash() {
	var fatal [4]uint64 // struct sigaction: SIG_DFL
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV), uintptr(unsafe.Pointer(&fatal)), 0, unsafe.Sizeof(fatal[0]), 0, 0)
	*(*int)(nil) = 0
}
