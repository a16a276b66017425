package ptrace_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/qemu/ptrace"
)

// filtered puts the process under a filter that allows everything, and checks it.
func filtered() {
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	program := unix.SockFprog{Len: 1, Filter: &allow}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
			err = errno
		}
	}
	fmt.Println(err, ptrace.Check(os.Getpid()))
}

// Whoever is under a filter of system calls, as a unit of systemd may put it
// there, is told that it may not trace, and nobody else is.
func TestCheck(t *testing.T) {
	if err := ptrace.Check(os.Getpid()); err != nil {
		t.Error(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"PTRACE_TEST=filtered"}
	out, err := cmd.CombinedOutput()
	if said := string(out); err != nil || !strings.HasPrefix(said, "<nil> ") || !strings.Contains(said, "seccomp") {
		t.Errorf("under a filter: %s(%v)", said, err)
	}
}
