package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// Files are the files of a running VM's guest as one user sees them. Relative
// names start at the user's home.
type Files struct {
	client   *Client
	id, user string
}

// Files returns the files of a VM as user sees them; empty is root.
func (c *Client) Files(id, user string) Files { return Files{client: c, id: id, user: user} }

// Open returns a file for reading, or a directory's entries. The caller closes
// Content, whose Read fails if the transfer breaks off. Size is 0 if it is not known.
func (f Files) Open(ctx context.Context, name string) (coppice.GuestFile, error) {
	r := f.request("GET", name)
	r.header.Set("Accept", "application/octet-stream")
	resp, err := f.client.send(ctx, r)
	if err != nil {
		return coppice.GuestFile{}, err
	}
	mode, err := strconv.ParseUint(resp.Header.Get(api.HeaderMode), 8, 32)
	if err != nil {
		resp.Body.Close()
		return coppice.GuestFile{}, fmt.Errorf("%s: the answer has no mode: %w", name, err)
	}
	file := coppice.GuestFile{Mode: fs.FileMode(mode).Perm()}
	if resp.Header.Get("Content-Type") == "application/octet-stream" {
		file.Size = max(resp.ContentLength, 0)
		file.Content = resp.Body
		return file, nil
	}
	defer resp.Body.Close()
	var dir api.Directory
	if err := json.NewDecoder(resp.Body).Decode(&dir); err != nil {
		return coppice.GuestFile{}, fmt.Errorf("%s: the answer broke off: %w", name, err)
	}
	file.Dir = true
	for _, e := range dir.Files {
		file.Entries = append(file.Entries, coppice.DirEntry{Name: e.Name, Dir: e.Kind == "directory"})
	}
	return file, nil
}

// Write replaces a file by what it reads from r, atomically, and makes its
// parents. The old mode and owner are kept; a new file has mode. If r fails,
// the file is as it was.
func (f Files) Write(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	req := f.request("PUT", name)
	req.header.Set("Content-Type", "application/octet-stream")
	req.header.Set(api.HeaderMode, strconv.FormatUint(uint64(mode.Perm()), 8))
	req.header.Set("Expect", "100-continue") // a refusal comes before the bytes
	req.body = io.NopCloser(r)
	resp, err := f.client.send(ctx, req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Watch reports changes below the user's home until ctx ends, whose error it
// returns, or the VM does.
func (f Files) Watch(ctx context.Context, event func(coppice.FileEvent)) error {
	r := request{method: "POST", path: vmPath(f.id, "/watch-files"), header: http.Header{}}
	r.as(f.user)
	resp, err := f.client.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body) // skips the blank lines that say that the server lives
	for {
		var e api.FileEvent
		if err := lines.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the watch broke off: %w", err)
		}
		event(coppice.FileEvent{Type: e.EventType, Name: e.Filename})
	}
}

func (f Files) request(method, name string) request {
	r := request{method: method, path: vmPath(f.id, "/files/") + escape(name), header: http.Header{}}
	r.as(f.user)
	return r
}

// escape makes name one segment of a path, and one that no proxy takes for a
// step in the path.
func escape(name string) string {
	if strings.Trim(name, ".") == "" {
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}
