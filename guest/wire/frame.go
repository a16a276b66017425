package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
)

// A Kind says what a frame is.
type Kind byte

const (
	Head   Kind = 'h' // JSON: a request, or an answer to it
	Fail   Kind = 'f' // JSON: an [Error] in place of an answer; the last frame
	Data   Kind = 'd' // content, standard input or output
	Stderr Kind = 'e' // standard error
	End    Kind = '.' // of the content; without it, what came is not all
)

// FrameOverhead is what a frame is longer than its content.
const FrameOverhead = 5

const (
	// MaxData is the most content a frame of data has, for its sender.
	MaxData = 32 << 10
	// MaxFrame is the most content any frame has, except a request.
	MaxFrame = 64 << 10
	// MaxRequest is the most content the first frame of a stream has. A command
	// may have 128 KiB, the longest the kernel takes, and JSON may swell it.
	MaxRequest = 1 << 20
)

// A Frame is one message on a stream: its kind, 4 bytes of length, big endian,
// and the content.
type Frame struct {
	Kind    Kind
	Content []byte
}

// PutHeader fills in the first [FrameOverhead] bytes of frame, whose content
// is the rest of it.
func PutHeader(frame []byte, kind Kind) {
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-FrameOverhead))
}

// ParseHeader returns the kind of a frame and how long its content is.
func ParseHeader(header [FrameOverhead]byte) (kind Kind, length int) {
	return Kind(header[0]), int(binary.BigEndian.Uint32(header[1:]))
}

// Write sends a frame in one write.
func Write(w io.Writer, kind Kind, content []byte) error {
	frame := make([]byte, FrameOverhead+len(content))
	copy(frame[FrameOverhead:], content)
	PutHeader(frame, kind)
	_, err := w.Write(frame)
	return err
}

// WriteJSON sends a frame whose content is v in JSON.
func WriteJSON(w io.Writer, kind Kind, v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return Write(w, kind, content)
}

// WriteRequest sends the first frame of a stream. The error is an
// [fs.ErrInvalid] if there is more in the request than a frame may have.
func WriteRequest(w io.Writer, req Request) error {
	content, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if len(content) > MaxRequest {
		return fmt.Errorf("a request of %d bytes, more than %d: %w", len(content), MaxRequest, fs.ErrInvalid)
	}
	return Write(w, Head, content)
}

// A Reader reads frames from a stream.
type Reader struct {
	r   io.Reader
	buf []byte
}

// NewReader returns a reader of the frames in r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame, whose content holds until the following call
// and has at most limit bytes. The error is [io.EOF] if there is no frame at all.
func (r *Reader) Next(limit int) (Frame, error) {
	var header [FrameOverhead]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return Frame{}, err
	}
	kind, n := ParseHeader(header)
	switch kind {
	case Head, Fail, Data, Stderr, End:
	default:
		return Frame{}, fmt.Errorf("a frame of no known kind (%#x)", byte(kind))
	}
	if n > limit {
		return Frame{}, fmt.Errorf("a frame of %d bytes, more than %d", n, limit)
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	content := r.buf[:n]
	if _, err := io.ReadFull(r.r, content); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return Frame{kind, content}, nil
}

// Answer reads a frame that must be an answer, into v. If the answer is a
// failure, the error is an [*Error].
func (r *Reader) Answer(v any) error {
	frame, err := r.Next(MaxFrame)
	if err != nil {
		return err
	}
	return frame.Answer(v)
}

// Answer reads the answer in f into v, as [Reader.Answer] does.
func (f Frame) Answer(v any) error {
	switch f.Kind {
	case Head:
		return json.Unmarshal(f.Content, v)
	case Fail:
		failure := new(Error)
		if err := json.Unmarshal(f.Content, failure); err != nil {
			return err
		}
		return failure
	}
	return fmt.Errorf("a frame %q in place of an answer", f.Kind)
}
