package ptrace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
)

// code is where a process has two pieces of machine code that every C library
// and the Go runtime have.
type code struct {
	enter    uint64 // a system call and a return
	restorer uint64 // the end of a signal handler
}

var (
	enterCode    = []byte{0x0f, 0x05, 0xc3}                                     // syscall; ret
	restorerCode = []byte{0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05} // mov $15, %rax; syscall
)

// bigMapping is the size from which a mapping is worth leaving out of copies.
const bigMapping = 1 << 20

// survey finds the code in a process, and its big private mappings: every page
// of one costs time when the process is copied.
func survey(pid int) (found code, big []Area, err error) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return found, nil, err
	}
	defer maps.Close()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return found, nil, err
	}
	defer memory.Close()
	var likely, others []Area // to have the code
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var area Area
		var perms string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &area.Start, &area.End, &perms); err != nil {
			continue
		}
		switch {
		case perms == "r-xp" && strings.Contains(lines.Text(), "/libc"):
			likely = append(likely, area)
		case perms == "r-xp":
			others = append(others, area)
		case strings.HasPrefix(perms, "rw") && strings.HasSuffix(perms, "p") && area.End-area.Start >= bigMapping:
			big = append(big, area)
		}
	}
	for _, area := range append(likely, others...) {
		if err := found.search(memory, area); err != nil {
			return found, nil, err
		}
	}
	if found.enter == 0 || found.restorer == 0 {
		return found, nil, errors.New("it has no code to make a system call with")
	}
	return found, big, nil
}

// search looks for the code in an area, for what was not found yet.
func (c *code) search(memory *os.File, area Area) error {
	if c.enter != 0 && c.restorer != 0 {
		return nil
	}
	b := make([]byte, area.End-area.Start)
	if _, err := memory.ReadAt(b, int64(area.Start)); err != nil {
		return err
	}
	if at := bytes.Index(b, enterCode); at >= 0 && c.enter == 0 {
		c.enter = area.Start + uint64(at)
	}
	if at := bytes.Index(b, restorerCode); at >= 0 && c.restorer == 0 {
		c.restorer = area.Start + uint64(at)
	}
	return nil
}
