package pool

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An extent is a piece of a file in one place of the device.
type extent struct {
	at, size int64
	shared   bool // with another file, or another place in this one
}

// The kernel's interface: see linux/fiemap.h.
const (
	fsIocFiemap        = 0xc020660b
	fiemapSync         = 0x1 // write out first what is only in memory
	fiemapExtentLast   = 0x1
	fiemapExtentShared = 0x2000
)

type fiemap struct {
	start, length uint64
	flags         uint32
	mapped, count uint32
	_             uint32
	extents       [256]fiemapExtent
}

type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// extentsOf returns the extents of a file, which has holes elsewhere.
func extentsOf(name string) ([]extent, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var extents []extent
	var from uint64
	for {
		m := fiemap{start: from, length: ^uint64(0) - from, flags: fiemapSync}
		m.count = uint32(len(m.extents))
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
			return nil, &os.PathError{Op: "map the extents of", Path: name, Err: errno}
		}
		for _, e := range m.extents[:m.mapped] {
			extents = append(extents, extent{int64(e.physical), int64(e.length), e.flags&fiemapExtentShared != 0})
			from = e.logical + e.length
		}
		if m.mapped == 0 || m.extents[m.mapped-1].flags&fiemapExtentLast != 0 {
			return extents, nil
		}
	}
}
