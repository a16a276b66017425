package qemu

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// mapPrivately maps a file of n pages, each filled with its number, as QEMU
// maps the base of a guest's memory.
func mapPrivately(t *testing.T, n int) (base *os.File, memory []byte, area span) {
	t.Helper()
	base, err := os.Create(filepath.Join(t.TempDir(), "base"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { base.Close() })
	for i := range n {
		if _, err := base.WriteAt(bytes.Repeat([]byte{byte(i), byte(i >> 8)}, pageSize/2), int64(i)*pageSize); err != nil {
			t.Fatal(err)
		}
	}
	memory, err = unix.Mmap(int(base.Fd()), 0, n*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(memory) })
	start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory))))
	return base, memory, span{start, start + uint64(len(memory))}
}

// pages returns the spans of whole runs of changed pages.
func pages(area span, changed func(page int) bool) (spans []span) {
	for at, i := area.start, 0; at < area.end; at, i = at+pageSize, i+1 {
		if changed(i) {
			spans = appendSpan(spans, span{at, at + pageSize})
		}
	}
	return spans
}

var allowSpan = cmp.AllowUnexported(span{})

func TestPrivatePages(t *testing.T) {
	const n = 20000
	random := rand.New(rand.NewPCG(1, 2))
	tests := []struct {
		name    string
		changed func(page int) bool
	}{
		{"none", func(int) bool { return false }},
		{"all", func(int) bool { return true }},
		{"first and last", func(i int) bool { return i == 0 || i == n-1 }},
		// More runs than one call of PAGEMAP_SCAN returns, and than its own buffer holds.
		{"every other", func(i int) bool { return i%2 == 0 }},
		{"at random", func(int) bool { return random.IntN(3) == 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, memory, area := mapPrivately(t, n)
			changed := make([]bool, n)
			var sum byte
			for i := range n {
				sum += memory[i*pageSize] // what is only read stays the file's
				if changed[i] = tt.changed(i); changed[i] {
					memory[i*pageSize]++
				}
			}
			want := pages(area, func(i int) bool { return changed[i] })

			pagemap, err := os.Open("/proc/self/pagemap")
			if err != nil {
				t.Fatal(err)
			}
			defer pagemap.Close()
			read, err := readPagemap(pagemap, area)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, read, allowSpan); diff != "" {
				t.Errorf("changed (-) and read (+):\n%s", diff)
			}
			found, err := privatePages(os.Getpid(), area)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, found, allowSpan); diff != "" {
				t.Errorf("changed (-) and found (+):\n%s", diff)
			}
		})
	}
}

// Copying what changed into a copy of the base gives the memory.
func TestCopyPages(t *testing.T) {
	const n = 4096
	random := rand.New(rand.NewPCG(3, 4))
	base, memory, area := mapPrivately(t, n)
	for i := 0; i < n; i += 1 + random.IntN(40) {
		run := memory[i*pageSize : min(n, i+1+random.IntN(60))*pageSize]
		if random.IntN(2) == 0 {
			clear(run) // maybe enough for a hole
		} else {
			run[random.IntN(len(run))]++
		}
	}
	info, err := base.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if ram, err := guestRAM(os.Getpid(), info); err != nil || ram != area {
		t.Fatalf("the mapping is found at %x, %v; it is at %x", ram, err, area)
	}
	spans, err := privatePages(os.Getpid(), area)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(base.Name())
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(copied, content, 0o600); err != nil {
		t.Fatal(err)
	}
	dst, err := os.OpenFile(copied, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := copyPages(t.Context(), dst, os.Getpid(), area, spans); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, memory) {
		t.Error("the copy differs from the memory")
	}
	if !bytes.Equal(content, must(os.ReadFile(base.Name()))) {
		t.Error("the base was written")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCutBatch(t *testing.T) {
	tests := []struct {
		name        string
		spans       []span
		n           uint64
		batch, rest []span
	}{
		{"all", []span{{0, 2}, {4, 6}}, 10, []span{{0, 2}, {4, 6}}, []span{}},
		{"exactly", []span{{0, 2}, {4, 6}}, 2, []span{{0, 2}}, []span{{4, 6}}},
		{"through the middle", []span{{0, 2}, {4, 9}}, 4, []span{{0, 2}, {4, 6}}, []span{{6, 9}}},
	}
	for _, tt := range tests {
		batch, rest := cutBatch(tt.spans, tt.n)
		if diff := cmp.Diff([][]span{tt.batch, tt.rest}, [][]span{batch, rest}, allowSpan); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", tt.name, diff)
		}
	}
	many := make([]span, 5000)
	for i := range many {
		many[i] = span{uint64(i) * 2, uint64(i)*2 + 1}
	}
	if batch, rest := cutBatch(many, 1<<40); len(batch) != 1024 || len(rest) != 5000-1024 {
		t.Errorf("%d spans cut off and %d left, want no more than a system call takes", len(batch), len(rest))
	}
}

func TestZeroRun(t *testing.T) {
	data := func(kinds string) (b []byte) { // d for a page of data, z for zeroes
		for _, k := range kinds {
			page := make([]byte, pageSize)
			if k == 'd' {
				page[pageSize-1] = 1
			}
			b = append(b, page...)
		}
		return b
	}
	hole := string(bytes.Repeat([]byte("z"), zeroHole/pageSize))
	tests := []struct {
		data string
		n    int // pages
		zero bool
	}{
		{"d", 1, false},
		{"z", 1, false},
		{"dzzd", 4, false},
		{hole, len(hole), true},
		{hole + "z", len(hole) + 1, true},
		{hole + "d", len(hole), true},
		{"d" + hole, 1, false},
		{"zdz" + hole + "d", 2, false},
		{"d" + hole[1:] + "d", len(hole) + 1, false},
	}
	for _, tt := range tests {
		if n, zero := zeroRun(data(tt.data)); n != tt.n*pageSize || zero != tt.zero {
			t.Errorf("%s: %d pages, zero %v; want %d, %v", tt.data, n/pageSize, zero, tt.n, tt.zero)
		}
	}
}
