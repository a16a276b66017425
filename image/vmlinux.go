package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// Where a bzImage says what is in it: Documentation/arch/x86/boot.rst of the kernel.
const (
	setupSectors  = 0x1f1 // byte: sectors of real-mode code after the first
	setupMagic    = 0x202 // "HdrS"
	payloadOffset = 0x248 // uint32: from the end of the real-mode code
	payloadLength = 0x24c // uint32
	setupEnd      = 0x250
)

// vmlinux returns the kernel that a bzImage carries compressed. Booted as it
// is, through PVH, it saves the guest the decompression, which is slow where the CPU is emulated.
func vmlinux(bzImage []byte) ([]byte, error) {
	if len(bzImage) < setupEnd || string(bzImage[setupMagic:setupMagic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage")
	}
	word := func(at int) int64 { return int64(binary.LittleEndian.Uint32(bzImage[at:])) }
	start := (int64(bzImage[setupSectors])+1)*512 + word(payloadOffset)
	end := start + word(payloadLength)
	if end > int64(len(bzImage)) {
		return nil, errors.New("the bzImage is truncated")
	}
	kernel, err := unlz4(bzImage[start:end])
	if err != nil {
		return nil, fmt.Errorf("decompress the kernel: %w", err)
	}
	if _, err := elf.NewFile(bytes.NewReader(kernel)); err != nil {
		return nil, fmt.Errorf("the kernel in the bzImage is no ELF file: %w", err)
	}
	return kernel, nil
}
