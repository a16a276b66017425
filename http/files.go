package http

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/internal/jsonbody"
)

const rawBytes = "application/octet-stream"

// guestFiles returns the files of the VM that r is about, as r's user sees
// them, and the name of the one that r is about. The VM is in use until release.
func (s *Server) guestFiles(r *http.Request, who caller) (files coppice.GuestFiles, name string, release func(), err error) {
	if name, err = fileName(r.URL); err != nil {
		return nil, "", nil, err
	}
	session, release, err := s.use(r.Context(), who, r.PathValue("vm_id"), "files")
	if err != nil {
		return nil, "", nil, err
	}
	return session.Files(r.Header.Get(api.HeaderLinuxUser)), name, release, nil
}

// fileName returns the name of the file in a URL: all that follows "/files/",
// which is one escaped segment, or, from clients that do not escape, more. Empty
// is the home directory.
func fileName(u *url.URL) (string, error) {
	_, escaped, ok := strings.Cut(u.EscapedPath(), "/files/")
	if !ok {
		return "..", nil // see routes
	}
	name, err := url.PathUnescape(escaped)
	if err != nil || strings.ContainsRune(name, 0) {
		return "", coppice.Errorf(coppice.CodeFilesBadRequest, "%q cannot be a file's name", escaped)
	}
	return name, nil
}

func (s *Server) readFile(w http.ResponseWriter, r *http.Request, who caller) error {
	files, name, release, err := s.guestFiles(r, who)
	if err != nil {
		return err
	}
	defer release()
	file, err := files.Open(r.Context(), name)
	if err != nil {
		return fileError(err, name)
	}
	w.Header().Set(api.HeaderMode, fmt.Sprintf("%04o", file.Mode.Perm()))
	if file.Dir {
		return writeJSON(w, directory(file.Entries))
	}
	defer file.Content.Close()
	if strings.Contains(r.Header.Get("Accept"), rawBytes) {
		return writeRaw(w, file)
	}
	return writeBase64(w, file.Content)
}

func directory(entries []coppice.DirEntry) api.Directory {
	dir := api.Directory{Files: make([]api.DirEntry, 0, len(entries))}
	for _, e := range entries {
		kind := "file"
		if e.Dir {
			kind = "directory"
		}
		dir.Files = append(dir.Files, api.DirEntry{Name: e.Name, Kind: kind})
	}
	return dir
}

func writeRaw(w http.ResponseWriter, file coppice.GuestFile) error {
	w.Header().Set("Content-Type", rawBytes)
	content := io.Reader(file.Content)
	if file.Size > 0 { // else it is not known, like those of /proc
		w.Header().Set("Content-Length", strconv.FormatInt(file.Size, 10))
		content = io.LimitReader(content, file.Size) // it may have grown
	}
	w.WriteHeader(http.StatusOK) // also if there is no content
	_, err := io.Copy(w, content)
	return err
}

// writeBase64 answers with an [api.FileContent], without holding the file.
func writeBase64(w http.ResponseWriter, content io.Reader) error {
	w.Header().Set("Content-Type", "application/json")
	bw := bufio.NewWriterSize(w, 64<<10) // errors stay with it until Flush
	bw.WriteString(`{"content":"`)
	enc := base64.NewEncoder(base64.StdEncoding, bw)
	if _, err := io.Copy(enc, content); err != nil {
		return err
	}
	enc.Close()
	bw.WriteString(`","encoding":"base64"}` + "\n")
	return bw.Flush()
}

func (s *Server) writeFile(w http.ResponseWriter, r *http.Request, who caller) error {
	files, name, release, err := s.guestFiles(r, who)
	if err != nil {
		return err
	}
	defer release()
	if name == "" {
		return coppice.Errorf(coppice.CodeFilesBadRequest, "the path names no file")
	}
	mode, err := fileMode(r.Header.Get(api.HeaderMode))
	if err != nil {
		return err
	}
	defer endBodyWith(r.Context(), r)()
	content := &remembering{r: r.Body}
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != rawBytes {
		body, err := jsonbody.Open(r.Body, s.config.SpoolDir)
		if err != nil {
			return badFileBody(err)
		}
		defer body.Close()
		content.r = body
	}
	if err := files.Write(r.Context(), name, mode, content); err != nil {
		if content.err != nil {
			return badFileBody(content.err)
		}
		return fileError(err, name)
	}
	return writeJSON(w, api.Empty{})
}

// endBodyWith lets what reads the body of a request fail when ctx ends: it would
// wait for the client. The caller calls stop when the body has been read.
func endBodyWith(ctx context.Context, r *http.Request) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		if body, ok := r.Body.(*slowBody); ok { // or there is none
			body.end()
		}
	})
}

// badFileBody says why a file could not be taken from a request.
func badFileBody(err error) error {
	var corrupt base64.CorruptInputError
	switch {
	case errors.Is(err, jsonbody.ErrTooLarge):
		return at(http.StatusRequestEntityTooLarge, coppice.Errorf(coppice.CodeFilesBadRequest,
			"the file is too large for JSON: send its bytes, with Content-Type: application/octet-stream"))
	case errors.As(err, &corrupt):
		err = jsonbody.Error("content is not base64: " + err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return at(http.StatusRequestTimeout, coppice.Errorf(coppice.CodeFilesBadRequest, "the file did not come: it was waited for too long").Because(err))
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = jsonbody.Error("it broke off")
	}
	if bad, ok := errors.AsType[jsonbody.Error](err); ok {
		return coppice.Errorf(coppice.CodeFilesBadRequest, "the body is not a file: %s. "+
			`It is JSON like {"content":"aGk=","encoding":"base64"}, or with Content-Type: application/octet-stream the bytes themselves`, bad)
	}
	return err
}

func fileMode(header string) (fs.FileMode, error) {
	if header == "" {
		return 0o644, nil
	}
	mode, err := strconv.ParseUint(header, 8, 12)
	if err != nil || mode > 0o777 {
		return 0, coppice.Errorf(coppice.CodeFilesBadRequest, "%s is a file's permission bits in octal, like 0644; not %q", api.HeaderMode, header)
	}
	return fs.FileMode(mode), nil
}

// A remembering reader remembers why it failed, so that a bad request is told
// from a guest that cannot take it.
type remembering struct {
	r   io.Reader
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
