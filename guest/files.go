package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// listingLimit is how long the names in a directory may be together.
const listingLimit = 16 << 20

// piece is how much of a file a guest has [answerDeadline] for: who sends next to
// nothing again and again is not waited for longer than who sends nothing.
const piece = 4 << 10

// modeMask is what is believed of a guest's file modes.
const modeMask = fs.ModePerm | fs.ModeDir | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// eventTypes are what a [coppice.FileEvent] may be.
var eventTypes = []string{"create", "modify", "delete", "rename"}

// files is a [coppice.GuestFiles].
type files struct {
	session *session
	user    string
}

// Files implements [coppice.Session].
func (s *session) Files(user string) coppice.GuestFiles { return files{s, user} }

// Open implements [coppice.GuestFiles]. The content can be read until ctx ends.
func (f files) Open(ctx context.Context, name string) (coppice.GuestFile, error) {
	c, err := f.session.call(ctx, wire.Request{Op: wire.OpOpen, File: &wire.File{User: f.user, Name: name}})
	if err != nil {
		return coppice.GuestFile{}, err
	}
	content := &content{call: c, close: sync.OnceFunc(c.close)}
	var info wire.FileInfo
	if err := c.answer(&info); err != nil {
		content.close()
		return coppice.GuestFile{}, err
	}
	file := coppice.GuestFile{Dir: info.Mode.IsDir(), Mode: info.Mode & modeMask, Size: max(info.Size, 0)}
	if !file.Dir {
		file.Content = content
		return file, nil
	}
	defer content.close()
	defer c.within(listingDeadline)()
	file.Entries, err = entries(content)
	return file, err
}

// entries reads a listing.
func entries(r io.Reader) ([]coppice.DirEntry, error) {
	listing := bufio.NewReader(io.LimitReader(r, listingLimit))
	var entries []coppice.DirEntry
	for size := 0; ; {
		line, err := listing.ReadString(0)
		if err == io.EOF && line == "" && size < listingLimit {
			break
		}
		if size += len(line); err == io.EOF && size >= listingLimit {
			return nil, fmt.Errorf("the directory's names are longer than %d bytes together: %w", listingLimit, fs.ErrInvalid)
		}
		if err != nil {
			return nil, err
		}
		kind, name := line[0], strings.TrimSuffix(line[1:], "\x00")
		if kind == 0 || name == "" || strings.Contains(name, "/") {
			return nil, fmt.Errorf("%w: %w", coppice.ErrGuestGone, errForeign)
		}
		entries = append(entries, coppice.DirEntry{Name: name, Dir: kind == 'd'})
	}
	slices.SortFunc(entries, func(a, b coppice.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// content is what a guest sends as data, until the end.
type content struct {
	call  *call
	close func()
	have  []byte
	err   error

	waited time.Duration // for the guest, since it sent the last piece of a file
	sent   int           // since then
}

func (r *content) Read(p []byte) (int, error) {
	for len(r.have) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		began := time.Now()
		r.have, r.err = r.call.data(answerDeadline - r.waited)
		r.waited += time.Since(began)
		if r.sent += len(r.have); r.sent >= piece {
			r.waited, r.sent = 0, 0
		}
	}
	n := copy(p, r.have)
	r.have = r.have[n:]
	return n, nil
}

func (r *content) Close() error {
	r.close()
	return nil
}

// data returns the next piece of content, or [io.EOF] after the last. The
// guest has that long for it.
func (c *call) data(patience time.Duration) ([]byte, error) {
	defer c.within(patience)()
	frame, err := c.next()
	switch {
	case err != nil:
	case frame.Kind == wire.Data:
		return frame.Content, nil
	case frame.Kind == wire.End:
		return nil, io.EOF
	default:
		if err = frame.Answer(new(wire.Done)); err == nil {
			err = errForeign
		}
	}
	return nil, c.failed(err)
}

// Write implements [coppice.GuestFiles]. What it has read of r when it fails is lost.
func (f files) Write(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	c, err := f.session.call(ctx, wire.Request{Op: wire.OpWrite, File: &wire.File{User: f.user, Name: name, Mode: mode.Perm()}})
	if err != nil {
		return err
	}
	defer c.close()
	answered := make(chan error, 1)
	go func() {
		err := c.frames.Answer(new(wire.Done))
		c.stream.SetWriteDeadline(time.Unix(1, 0)) // it may have failed before it has all
		answered <- err
	}()
	if err := c.send(prompt{c}, r); err != nil {
		return err
	}
	defer c.within(answerDeadline)()
	if err := <-answered; err != nil {
		return c.failed(err)
	}
	return nil
}

// Watch implements [coppice.GuestFiles].
func (f files) Watch(ctx context.Context, dir string, event func(coppice.FileEvent)) error {
	c, err := f.session.call(ctx, wire.Request{Op: wire.OpWatch, File: &wire.File{User: f.user, Name: dir}})
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.answer(new(wire.Done)); err != nil {
		return err
	}
	for {
		frame, err := c.next()
		if err == nil && frame.Kind != wire.Data {
			if err = frame.Answer(new(wire.Done)); err == nil {
				err = errForeign
			}
		}
		var e coppice.FileEvent
		if err == nil {
			err = json.Unmarshal(frame.Content, &e)
		}
		if err == nil && !slices.Contains(eventTypes, e.Type) {
			err = errForeign
		}
		if err != nil {
			return c.failed(err)
		}
		event(e)
	}
}
