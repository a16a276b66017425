package qmp

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// What QEMU says is cut into messages without a panic, without an endless
// loop, and the same however the stream is cut into reads.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"QMP": {"version": {}, "capabilities": []}}` + "\r\n" + `{"return": {}, "id": 1}` + "\r\n"))
	f.Add([]byte("\r\n\n" + `{"event": "STOP", "data": null, "timestamp": {"seconds": 1, "microseconds": 2}}`))
	f.Add([]byte(`{"error": {"class": "GenericError", "desc": "x"}, "id": 18446744073709551615}` + "\n{"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, wholeErr := count(bytes.NewReader(stream))
		cut, cutErr := count(iotest.OneByteReader(bytes.NewReader(stream)))
		if whole != cut || (wholeErr == io.EOF) != (cutErr == io.EOF) {
			t.Errorf("%d messages and %v at once, %d and %v byte by byte", whole, wholeErr, cut, cutErr)
		}
		if limit := bytes.Count(stream, []byte("\n")) + 1; whole > limit {
			t.Errorf("%d messages in %d lines", whole, limit)
		}
	})
}

func count(r io.Reader) (n int, err error) {
	in := newReader(r)
	for {
		if _, err := in.next(); err != nil {
			return n, err
		}
		n++
	}
}
