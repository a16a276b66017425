package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// testdata/kernel.lz4 is a small ELF file as the kernel's build compresses one:
// "lz4 -l -9", then its size.
func compressedKernel(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/kernel.lz4")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What it is when it is decompressed.
const (
	kernelSize   = 76928
	kernelSHA256 = "1a91e760a6dbf9bf9a5f77bfad9e51f7714abfa9241e70a50e021624a1b89e8b"
)

func checkKernel(t *testing.T, got []byte) {
	t.Helper()
	if sum := sha256.Sum256(got); len(got) != kernelSize || hex.EncodeToString(sum[:]) != kernelSHA256 {
		t.Errorf("got %d bytes with SHA-256 %x, want %d with %s", len(got), sum, kernelSize, kernelSHA256)
	}
}

// bzImage returns an image with that payload, after two sectors of real-mode
// code and 100 bytes of something else, and before a trailer.
func bzImage(payload []byte) []byte {
	image := make([]byte, 3*512+100)
	image[setupSectors] = 2
	copy(image[setupMagic:], "HdrS")
	binary.LittleEndian.PutUint32(image[payloadOffset:], 100)
	binary.LittleEndian.PutUint32(image[payloadLength:], uint32(len(payload)))
	return append(append(image, payload...), "trailer"...)
}

func TestVmlinux(t *testing.T) {
	got, err := vmlinux(bzImage(compressedKernel(t)))
	if err != nil {
		t.Fatal(err)
	}
	checkKernel(t, got)
}

func TestVmlinuxRefuses(t *testing.T) {
	good := bzImage(compressedKernel(t))
	noELF := append([]byte{0x02, 0x21, 0x4c, 0x18, 5, 0, 0, 0, 0x40}, "text\x04\x00\x00\x00"...)
	for name, test := range map[string]struct {
		image []byte
		want  string
	}{
		"nothing":             {nil, "not a bzImage"},
		"another file":        {bytes.Repeat([]byte("x"), 4096), "not a bzImage"},
		"a truncated image":   {good[:len(good)-100], "truncated"},
		"another compression": {bzImage([]byte("\xfd7zXZ\x00 and so on")), "not compressed with LZ4"},
		"no kernel inside":    {bzImage(noELF), "no ELF file"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := vmlinux(test.image); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestUnlz4(t *testing.T) {
	// stream returns a stream of blocks for output of that size.
	stream := func(size uint32, blocks ...string) []byte {
		out := binary.LittleEndian.AppendUint32(nil, lz4Magic)
		for _, b := range blocks {
			out = append(binary.LittleEndian.AppendUint32(out, uint32(len(b))), b...)
		}
		return binary.LittleEndian.AppendUint32(out, size)
	}
	long := strings.Repeat("l", 15+255+3)
	for name, test := range map[string]struct {
		src  []byte
		want string // empty: refused
	}{
		"literals":                    {stream(5, "\x50hello"), "hello"},
		"a long run of literals":      {stream(273, "\xf0\xff\x03"+long), long},
		"a copy":                      {stream(12, "\x40abcd\x04\x00\x40tail"), "abcdabcdtail"},
		"a copy of its own output":    {stream(14, "\x36abc\x03\x00\x10x"), "abcabcabcabcax"},
		"a long copy":                 {stream(1+4+15+1+1, "\x1fz\x01\x00\x01\x10y"), strings.Repeat("z", 21) + "y"},
		"two blocks":                  {stream(6, "\x30abc", "\x30def"), "abcdef"},
		"a copy across blocks":        {stream(9, "\x30abc", "\x10d\x04\x00\x10e"), ""},
		"a copy from before":          {stream(8, "\x30abc\x04\x00\x10x"), ""},
		"a copy from nowhere":         {stream(8, "\x30abc\x00\x00\x10x"), ""},
		"a block that ends early":     {stream(5, "\x50hell"), ""},
		"a block that ends in a copy": {stream(7, "\x30abc\x03\x00"), ""},
		"half a distance":             {stream(7, "\x30abc\x03"), ""},
		"an endless length":           {stream(7, "\xf0\xff\xff"), ""},
		"the wrong size":              {stream(6, "\x50hello"), ""},
		"a block beyond the end":      {append(stream(5, "\x50hello")[:6], 0, 0, 0, 5, 0, 0, 0), ""},
		"half a length":               {append(stream(0), "\x00\x00\x00\x00\x00\x00"...), ""},
		"nothing":                     {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unlz4(test.src)
			if test.want == "" {
				if err == nil {
					t.Fatalf("got %q, want an error", got)
				}
			} else if err != nil || string(got) != test.want {
				t.Fatalf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func FuzzUnlz4(f *testing.F) {
	f.Add(compressedKernel(f))
	f.Fuzz(func(t *testing.T, src []byte) {
		out, err := unlz4(src)
		if err == nil && len(out) != int(binary.LittleEndian.Uint32(src[len(src)-4:])) {
			t.Errorf("%d bytes came of a stream for another size", len(out))
		}
	})
}
