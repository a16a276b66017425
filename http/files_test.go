package http

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/internal/jsonbody"
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
// Large files pass through without being held, in every shape.
func (letters) Read(p []byte) (int, error) { return copy(p, manyAs), nil }

// A watch that sees nothing says that it lives, and ends with the daemon.

func TestTooLargeForJSON(t *testing.T) {
	if f := translate(badFileBody(jsonbody.ErrTooLarge)); f.status != 413 || f.err.Code != coppice.CodeFilesBadRequest {
		t.Errorf("%+v", f)
	}
}
