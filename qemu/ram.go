package qemu

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/fallocate"
)

// guestRAM is where a guest's memory lies in the address space of its QEMU.
// It is a private mapping of the base, from the file's beginning.
func guestRAM(pid int, base os.FileInfo) (span, error) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return span{}, err
	}
	defer maps.Close()
	inode := base.Sys().(*syscall.Stat_t).Ino
	var spans []span
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var s span
		var perms, device string
		var offset, ino uint64
		_, err := fmt.Sscanf(lines.Text(), "%x-%x %s %x %s %d", &s.start, &s.end, &perms, &offset, &device, &ino)
		// The kernel may have cut the mapping in pieces. The device is not
		// compared: btrfs shows another one here than in stat.
		if err == nil && ino == inode && perms == "rw-p" {
			spans = appendSpan(spans, s)
		}
	}
	// Another file, of another device, may have the same number.
	spans = slices.DeleteFunc(spans, func(s span) bool { return s.size() != uint64(base.Size()) })
	if len(spans) != 1 {
		return span{}, fmt.Errorf("process %d does not map %s once and as a whole", pid, base.Name())
	}
	return spans[0], nil
}

// copyBatch is how much is read from a process at a time.
const copyBatch = 4 << 20

// zeroHole is the least run of zeroes worth a hole in the file. A smaller one
// costs less as data than the file's fragmentation would.
const zeroHole = 64 << 10

// copyPages writes spans of a process's memory to a file, where area begins at
// the file's start. Long runs of zeroes become holes.
func copyPages(ctx context.Context, dst *os.File, pid int, area span, spans []span) error {
	buf := make([]byte, copyBatch)
	for len(spans) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		batch, rest := cutBatch(spans, copyBatch)
		spans = rest
		if err := readMemory(pid, buf, batch); err != nil {
			return fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		data := buf
		for _, s := range batch {
			if err := writePages(dst, data[:s.size()], int64(s.start-area.start)); err != nil {
				return err
			}
			data = data[s.size():]
		}
	}
	return nil
}

// cutBatch cuts the first spans off, n bytes of them and no more than one
// system call takes, through the middle of a span if need be. It uses spans up.
func cutBatch(spans []span, n uint64) (batch, rest []span) {
	const maxVector = 1024
	for len(spans) > 0 && n > 0 && len(batch) < maxVector {
		s := spans[0]
		if s.size() <= n {
			spans = spans[1:]
		} else {
			s.end = s.start + n
			spans[0].start = s.end
		}
		batch = append(batch, s)
		n -= s.size()
	}
	return batch, spans
}

// readMemory reads spans of a process's memory into buf, one after the other.
func readMemory(pid int, buf []byte, spans []span) error {
	remote := make([]unix.RemoteIovec, len(spans))
	for i, s := range spans {
		remote[i] = unix.RemoteIovec{Base: uintptr(s.start), Len: int(s.size())}
	}
	want := int(total(spans))
	local := []unix.Iovec{{Base: unsafe.SliceData(buf), Len: uint64(want)}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	if err == nil && n < want {
		err = fmt.Errorf("%d bytes of %d", n, want)
	}
	return err
}

// writePages writes whole pages to a file.
func writePages(dst *os.File, data []byte, at int64) error {
	for len(data) > 0 {
		n, zero := zeroRun(data)
		var err error
		if zero && n >= zeroHole {
			err = fallocate.Punch(int(dst.Fd()), at, int64(n))
		} else {
			_, err = dst.WriteAt(data[:n], at)
		}
		if err != nil {
			return err
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}

var zeroPage [pageSize]byte

// zeroRun returns how much of data to write in one piece: either a run of
// zeroes long enough for a hole, or everything up to the next one.
func zeroRun(data []byte) (n int, zero bool) {
	zeroes := 0 // at the end of data[:n]
	for ; n < len(data); n += pageSize {
		if bytes.Equal(data[n:n+pageSize], zeroPage[:]) {
			zeroes += pageSize
			continue
		}
		if zeroes >= zeroHole {
			break
		}
		zeroes = 0
	}
	switch {
	case zeroes < zeroHole:
		return n, false
	case zeroes == n:
		return n, true
	default:
		return n - zeroes, false
	}
}
