package ptrace

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Check returns an error that says why a process may not trace QEMU as this
// package does it, or nil.
func Check(pid int) error {
	scope, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope") // where there is Yama
	if strings.TrimSpace(string(scope)) == "3" {
		return errors.New("the kernel lets nobody trace: kernel.yama.ptrace_scope is 3")
	}
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	defer status.Close()
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		if mode, ok := strings.CutPrefix(lines.Text(), "Seccomp:"); ok && strings.TrimSpace(mode) != "0" {
			return errors.New("it is under a filter of system calls (seccomp), and may not suspend that of QEMU")
		}
	}
	return lines.Err()
}
