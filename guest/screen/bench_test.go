package screen

import "testing"

func BenchmarkWrite(b *testing.B) {
	s := New(80, 24)
	line := []byte("the quick brown fox jumps over the lazy dog, and \x1b[1mthen\x1b[m some more of it\r\n")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		s.Write(line)
	}
}
