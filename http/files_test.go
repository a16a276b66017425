package http

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// What clients make of a file's name, and what name reaches the guest.
func TestFileName(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/vms/ID/files/%2Froot%2Fa%20b%2Bc.txt": "/root/a b+c.txt",
		"/v1/vms/ID/files/%2F":                     "/",
		"/v1/vms/ID/files/":                        "",
		"/v1/vms/ID/files/rel.txt":                 "rel.txt",
		"/v1/vms/ID/files//etc/hosts":              "/etc/hosts",
		"/v1/vms/ID/files/a/b":                     "a/b",
		"/v1/vms/ID/files/a%2F..%2Fb":              "a/../b",
		"/v1/vms/ID/files/%2E%2E":                  "..",
		"/v1/vms/ID/files/..":                      "..",
		"/v1/vms/ID/":                              "..",
		"/v1/vms/ID/files/%2Ffiles%2Fx":            "/files/x",
		"/v1/vms/ID/files/%252F":                   "%2F",
		"/v1/vms/ID/files/100%25":                  "100%",
		"/v1/vms/ID/files/%C3%BC":                  "ü",
		"/v1/vms/ID/files/ü":                       "ü",
		"/v1/vms/ID/files/%FF":                     "\xff",
		"/v1/vms/ID/files/a+b":                     "a+b",
	} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := fileName(u); err != nil || got != want {
			t.Errorf("%s: %q %v", path, got, err)
		}
	}
}

func FuzzFileName(f *testing.F) {
	for _, name := range []string{"", "/", "..", ".", "a/../b", "/files/", "%2F", "\xff", "?#", "a b+c"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		u, err := url.Parse("/v1/vms/ID/files/" + url.PathEscape(name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := fileName(u)
		if refused := err != nil; refused != strings.ContainsRune(name, 0) || !refused && got != name {
			t.Errorf("%q arrives as %q, %v", name, got, err)
		}
	})
}

func TestFiles(t *testing.T) {
	h := newHarness(t)
	files := h.client().Files(string(h.vms.add(coppice.VM{})), "")
	ctx := t.Context()
	for name, content := range map[string]string{
		"/root/a b+c.txt": "hello\n", "/deep/er/x": "\x00\xff", "empty": "", "100%": "x", "ü/..b": "y", "/files/files": "z",
		"/large": strings.Repeat("0123456789", 300000),
	} {
		if err := files.Write(ctx, name, 0o640, strings.NewReader(content)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file, err := files.Open(ctx, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(file.Content)
		file.Content.Close()
		if err != nil || string(got) != content || file.Mode != 0o640 || file.Size != int64(len(content)) {
			t.Errorf("%s: %d bytes, mode %v, size %d, %v", name, len(got), file.Mode, file.Size, err)
		}
	}
	dir, err := files.Open(ctx, "/deep")
	if err != nil || !dir.Dir || !cmp.Equal(dir.Entries, []coppice.DirEntry{{Name: "er", Dir: true}}) {
		t.Errorf("%+v %v", dir, err)
	}
	for _, name := range []string{"", "/", "."} {
		if dir, err := files.Open(ctx, name); err != nil || len(dir.Entries) != 7 {
			t.Errorf("%q: %+v %v", name, dir, err)
		}
	}
	if dir, err := files.Open(ctx, ".."); err != nil || !cmp.Equal(dir.Entries, []coppice.DirEntry{{Name: "parent"}}) {
		t.Errorf("..: %+v %v", dir, err)
	}
	if _, err := files.Open(ctx, "/nope"); coppice.CodeOf(err) != coppice.CodeFileNotFound {
		t.Errorf("no such file: %v", err)
	}
	for _, name := range []string{"", "/deep", "/readonly"} {
		if err := files.Write(ctx, name, 0o644, strings.NewReader("x")); coppice.CodeOf(err) != coppice.CodeFilesBadRequest {
			t.Errorf("write %q: %v", name, err)
		}
	}
	eve := h.client().Files(string(h.vms.add(coppice.VM{})), "eve")
	if _, err := eve.Open(ctx, "/"); coppice.CodeOf(err) != coppice.CodeUserNotFound {
		t.Errorf("as eve: %v", err)
	}
}

// A transfer that breaks off changes nothing, and is not taken for the whole.
func TestBrokenTransfers(t *testing.T) {
	h := newHarness(t)
	id := h.vms.add(coppice.VM{})
	files := h.client().Files(string(id), "")
	ctx := t.Context()
	if err := files.Write(ctx, "/f", 0o644, strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	torn := errors.New("torn")
	err := files.Write(ctx, "/f", 0o644, io.MultiReader(strings.NewReader(strings.Repeat("new", 100000)), failing{torn}))
	if !errors.Is(err, torn) {
		t.Errorf("a reader that fails: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(h.dir, "f")); string(b) != "old" || err != nil {
		t.Errorf("now it is %.20q %v", b, err)
	}

	h.vms.guest = &brokenGuest{}
	file, err := files.Open(ctx, "/f")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(file.Content); err == nil {
		t.Errorf("%d bytes of a broken file look like all of it", len(b))
	}
	file.Content.Close()
	resp, err := h.http.Do(h.request("GET", "/v1/vms/"+string(id)+"/files/f", nil))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%q of a broken file looks like all of it", b)
	}
	resp.Body.Close()
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// brokenGuest's files break off.
type brokenGuest struct{ fakeGuest }

func (g *brokenGuest) Files(string) coppice.GuestFiles { return brokenFiles{} }

type brokenFiles struct{ fakeFiles }

func (brokenFiles) Open(context.Context, string) (coppice.GuestFile, error) {
	content := io.MultiReader(strings.NewReader(strings.Repeat("x", 100000)), failing{coppice.ErrGuestGone})
	return coppice.GuestFile{Mode: 0o644, Size: 200000, Content: io.NopCloser(content)}, nil
}

func (h *harness) request(method, path string, body io.Reader) *http.Request {
	h.t.Helper()
	req, err := http.NewRequest(method, h.url+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer alice-key")
	return req
}

// The contract's shapes of a file.
func TestFilesJSON(t *testing.T) {
	h := newHarness(t)
	base := "/v1/vms/" + string(h.vms.add(coppice.VM{})) + "/files/"
	for _, c := range []struct {
		body   string
		status int
		want   string // the content, or the code
	}{
		{`{"content":"AP8K","encoding":"base64"}`, 200, "\x00\xff\n"},
		{`{"encoding":"base64","content":"AP8K"}`, 200, "\x00\xff\n"},
		{`{"content":"","encoding":"base64"}`, 200, ""},
		{`{"content":"aMOp\/","encoding":null}`, 200, "aMOp/"},
		{`{"content":"h\u00e9 \ud83d\ude42\n","encoding":"utf8"}`, 200, "hé 🙂\n"},
		{`{"content":"x","executable":true,"mode":[{"a":"}"}],"encoding":"utf-8"}`, 200, "x"},
		{"", 400, "FILES_BAD_REQUEST"},
		{"{}", 400, "FILES_BAD_REQUEST"},
		{`{"content":null}`, 400, "FILES_BAD_REQUEST"},
		{`{"content":5}`, 400, "FILES_BAD_REQUEST"},
		{`{"content":"AP8","encoding":"base64"}`, 400, "FILES_BAD_REQUEST"},
		{`{"encoding":"base64","content":"??"}`, 400, "FILES_BAD_REQUEST"},
		{`{"content":"x","encoding":"rot13"}`, 400, "FILES_BAD_REQUEST"},
		{`{"encoding":"utf8","content":"x"`, 400, "FILES_BAD_REQUEST"},
		{`{"encoding":"utf8","content":"x"} x`, 400, "FILES_BAD_REQUEST"},
		{`plain text`, 400, "FILES_BAD_REQUEST"},
	} {
		path := base + "%2Ff"
		os.Remove(filepath.Join(h.dir, "f"))
		a := h.do("PUT", path, c.body)
		if a.status != c.status {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
			continue
		}
		if c.status != 200 {
			if _, err := os.Stat(filepath.Join(h.dir, "f")); a.code() != c.want || err == nil {
				t.Errorf("%s: %s, file made: %v", c.body, a.body, err == nil)
			}
			continue
		}
		var content struct{ Content, Encoding string }
		a = h.do("GET", path, "")
		if err := json.Unmarshal([]byte(a.body), &content); err != nil {
			t.Fatal(err)
		}
		if got, err := base64.StdEncoding.DecodeString(content.Content); err != nil || string(got) != c.want || content.Encoding != "base64" {
			t.Errorf("%s came back as %s", c.body, a.body)
		}
	}
	a := h.do("GET", base, "")
	if strings.TrimSpace(a.body) != `{"files":[{"name":"f","kind":"file"}]}` && strings.TrimSpace(a.body) != `{"files":[]}` {
		t.Errorf("the directory is %s", a.body)
	}
	if err := os.Mkdir(filepath.Join(h.dir, "void"), 0o755); err != nil {
		t.Fatal(err)
	}
	if a := h.do("GET", base+"void", ""); strings.TrimSpace(a.body) != `{"files":[]}` {
		t.Errorf("an empty directory is %s", a.body)
	}
	if a := h.do("GET", base+"nope", ""); a.status != 404 || !strings.Contains(a.body, `"path":"nope"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, mode := range []string{"999", "rw", "7777", "-1"} {
		if a := h.do("PUT", base+"f", "x", "Content-Type: application/octet-stream", api.HeaderMode+": "+mode); a.status != 400 || a.code() != "FILES_BAD_REQUEST" {
			t.Errorf("mode %s: %d %s", mode, a.status, a.body)
		}
	}
}

// hashGuest's files remember only a sum of what was written, and say zeros.
type hashGuest struct {
	fakeGuest
	sum  [32]byte
	size int64
}

func (g *hashGuest) Files(string) coppice.GuestFiles { return hashFiles{g: g} }

type hashFiles struct {
	fakeFiles
	g *hashGuest
}

func (f hashFiles) Write(_ context.Context, _ string, _ fs.FileMode, r io.Reader) error {
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	f.g.size, f.g.sum = n, [32]byte(sum.Sum(nil))
	return err
}

func (f hashFiles) Open(context.Context, string) (coppice.GuestFile, error) {
	return coppice.GuestFile{Mode: 0o644, Size: f.g.size, Content: io.NopCloser(io.LimitReader(zeros{}, f.g.size))}, nil
}

// Large files pass through without being held, in every shape.
func TestLargeFilesAreNotHeld(t *testing.T) {
	h := newHarness(t)
	guest := &hashGuest{}
	h.vms.guest = guest
	id := string(h.vms.add(coppice.VM{}))
	const size = 48 << 20
	sum := sha256.New()
	io.CopyN(sum, zeros{}, size)
	want := [32]byte(sum.Sum(nil))

	held := func(what string, do func() error) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		peak, stop, done := uint64(0), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					runtime.ReadMemStats(&after)
					peak = max(peak, after.HeapInuse)
				}
			}
		}()
		err := do()
		close(stop)
		<-done
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if grown := int64(peak) - int64(before.HeapInuse); grown > size/3 {
			t.Errorf("%s: the heap grew by %d MiB", what, grown>>20)
		}
	}
	// content is the JSON of size zero bytes.
	content := func() io.Reader {
		return io.MultiReader(strings.NewReader(`"content":"`), io.LimitReader(letters{}, size/3*4), strings.NewReader(`"`))
	}
	put := func(body io.Reader) error {
		guest.size = 0
		resp, err := h.http.Do(h.request("PUT", "/v1/vms/"+id+"/files/f", body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || guest.size != size || guest.sum != want {
			return fmt.Errorf("%d %s, %d bytes", resp.StatusCode, b, guest.size)
		}
		return nil
	}
	held("PUT JSON, encoding last", func() error {
		return put(io.MultiReader(strings.NewReader("{"), content(), strings.NewReader(`,"encoding":"base64"}`)))
	})
	held("PUT JSON, encoding first", func() error {
		return put(io.MultiReader(strings.NewReader(`{"encoding":"base64",`), content(), strings.NewReader(`}`)))
	})
	held("PUT raw", func() error {
		return h.client().Files(id, "").Write(t.Context(), "f", 0o644, io.LimitReader(zeros{}, size))
	})
	held("GET JSON", func() error {
		resp, err := h.http.Do(h.request("GET", "/v1/vms/"+id+"/files/f", nil))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if want := int64(size/3*4 + len(`{"content":"","encoding":"base64"}`) + 1); n != want {
			return fmt.Errorf("%d bytes, not %d, %v", n, want, err)
		}
		return err
	})
	held("GET raw", func() error {
		file, err := h.client().Files(id, "").Open(t.Context(), "f")
		if err != nil {
			return err
		}
		defer file.Content.Close()
		if n, err := io.Copy(io.Discard, file.Content); n != size || file.Size != size {
			return fmt.Errorf("%d of %d bytes, %v", n, file.Size, err)
		}
		return nil
	})
	if left, err := os.ReadDir(h.server.SpoolDir); err != nil || len(left) != 0 {
		t.Errorf("the spool has %v, %v", left, err)
	}
}

type letters struct{}

func (letters) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("A"), len(p))), nil }

func TestWatch(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []coppice.FileEvent
	err := h.client().Files(id, "").Watch(ctx, func(e coppice.FileEvent) {
		if got = append(got, e); len(got) == 2 {
			cancel()
		}
	})
	want := []coppice.FileEvent{{Type: "create", Name: "a.txt"}, {Type: "delete", Name: "ü b"}}
	if !errors.Is(err, context.Canceled) || !cmp.Equal(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	if err := h.client().Files(id, "eve").Watch(t.Context(), nil); coppice.CodeOf(err) != coppice.CodeUserNotFound {
		t.Errorf("as eve: %v", err)
	}
}

// A watch that sees nothing says that it lives, and ends with the daemon.
func TestWatchHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vms := newFakeVMs(t.TempDir())
		s := newServer(t, vms, io.Discard)
		r := httptest.NewRequest("POST", "/v1/vms/"+string(vms.add(coppice.VM{}))+"/watch-files", nil)
		r.Header.Set("Authorization", "Bearer alice-key")
		w := httptest.NewRecorder()
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			s.ServeHTTP(w, r)
		}()
		time.Sleep(119 * time.Second)
		s.leave(errLeaving)
		if p := <-ended; p != http.ErrAbortHandler {
			t.Errorf("it ended with %v", p)
		}
		if want := "\n" + `{"eventType":"create","filename":"a.txt"}` + "\n" + `{"eventType":"delete","filename":"ü b"}` + "\n\n\n\n\n\n"; w.Body.String() != want {
			t.Errorf("%q", w.Body.String())
		}
	})
}
