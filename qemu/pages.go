package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageSize is the kernel's on x86-64.
const pageSize = 4096

// A span is a range of addresses, of whole pages.
type span struct{ start, end uint64 }

func (s span) size() uint64 { return s.end - s.start }

// privatePages returns the spans of a process's memory within area, a private
// mapping of a file, that are not the file's any more: what was written since.
// They are in order and do not touch.
func privatePages(pid int, area span) ([]span, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	spans, err := scanPagemap(f, area)
	if errors.Is(err, unix.ENOTTY) { // before Linux 6.7
		spans, err = readPagemap(f, area)
	}
	return spans, err
}

// What PAGEMAP_SCAN takes and returns: struct pm_scan_arg and struct
// page_region of linux/fs.h.
type (
	scanArg struct {
		size, flags                       uint64
		start, end, walkEnd               uint64
		vec, vecLen                       uint64
		maxPages                          uint64
		inverted, mask, anyOf, returnMask uint64
	}
	scanRegion struct {
		span
		categories uint64
	}
)

const (
	pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
)

// scanPagemap asks for the pages that are not the file's and exist somewhere.
func scanPagemap(pagemap *os.File, area span) ([]span, error) {
	var spans []span
	regions := make([]scanRegion, 4096)
	for next := area.start; next < area.end; {
		arg := scanArg{
			start: next, end: area.end,
			vec: uint64(uintptr(unsafe.Pointer(&regions[0]))), vecLen: uint64(len(regions)),
			inverted: pageIsFile, mask: pageIsFile, anyOf: pageIsPresent | pageIsSwapped,
		}
		arg.size = uint64(unsafe.Sizeof(arg))
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		if errno != 0 {
			return nil, &os.PathError{Op: "scan", Path: pagemap.Name(), Err: errno}
		}
		for _, r := range regions[:n] {
			spans = appendSpan(spans, r.span)
		}
		if int(n) < len(regions) {
			break
		}
		// Not walkEnd: it can lie before what was returned, and then pages come twice.
		next = regions[n-1].end
	}
	return spans, nil
}

// readPagemap finds the same in the table of all pages, of 8 bytes each.
func readPagemap(pagemap io.ReaderAt, area span) ([]span, error) {
	const (
		present = 1 << 63
		swapped = 1 << 62
		file    = 1 << 61
	)
	var spans []span
	entries := make([]byte, 1<<20)
	for at := area.start; at < area.end; {
		want := min(uint64(len(entries)), (area.end-at)/pageSize*8)
		if _, err := pagemap.ReadAt(entries[:want], int64(at/pageSize*8)); err != nil {
			return nil, err
		}
		for e := entries[:want]; len(e) > 0; e, at = e[8:], at+pageSize {
			bits := binary.NativeEndian.Uint64(e)
			if bits&file == 0 && bits&(present|swapped) != 0 {
				spans = appendSpan(spans, span{at, at + pageSize})
			}
		}
	}
	return spans, nil
}

// appendSpan adds a span that begins at or after the end of the last one.
func appendSpan(spans []span, s span) []span {
	if n := len(spans); n > 0 && spans[n-1].end == s.start {
		spans[n-1].end = s.end
		return spans
	}
	return append(spans, s)
}

// total returns the size of all spans.
func total(spans []span) (n uint64) {
	for _, s := range spans {
		n += s.size()
	}
	return n
}
