package image

import (
	"bytes"
	"fmt"
)

// File type bits of a cpio entry's mode.
const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
	cpioChar = 0o020000
)

// A cpioEntry is one name in an archive. A directory comes before what is in it.
type cpioEntry struct {
	name         string // relative to the root
	mode         uint32 // type and permissions
	major, minor uint32 // of a device
	data         []byte
}

// cpio returns an archive in the "newc" format, the one the kernel unpacks. It
// depends on nothing but entries: no owners, no times.
func cpio(entries []cpioEntry) []byte {
	var out bytes.Buffer
	for i, e := range append(entries, cpioEntry{name: "TRAILER!!!"}) {
		fmt.Fprint(&out, "070701")
		for _, field := range []uint32{
			uint32(i + 1), e.mode, 0, 0, 1, 0, uint32(len(e.data)), // inode, mode, uid, gid, links, mtime, size
			0, 0, e.major, e.minor, uint32(len(e.name) + 1), 0, // device, special device, length of the name, checksum
		} {
			fmt.Fprintf(&out, "%08x", field)
		}
		out.WriteString(e.name)
		out.WriteByte(0)
		pad(&out)
		out.Write(e.data)
		pad(&out)
	}
	return out.Bytes()
}

// pad fills up to a multiple of four bytes.
func pad(out *bytes.Buffer) {
	for out.Len()%4 != 0 {
		out.WriteByte(0)
	}
}
