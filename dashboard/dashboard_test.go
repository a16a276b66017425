package dashboard

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var handler = sync.OnceValue(Handler)

func get(t *testing.T, path string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every file of the page is sent with a type and with what keeps the page to itself.
func TestHandler(t *testing.T) {
	files := 0
	err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		resp := get(t, "/"+name)
		content, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		h := resp.Header
		if resp.StatusCode != 200 || h.Get("Content-Type") == "" || body(t, resp.Body) != string(content) {
			t.Errorf("%s: %d %v", name, resp.StatusCode, h)
		}
		if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %v", name, h)
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files, %v", files, err)
	}
	if page := body(t, get(t, "/").Body); !strings.Contains(page, "<!doctype html>") {
		t.Errorf("the page is %.80s", page)
	}
	for _, path := range []string{"/assets/", "/assets/none.js", "/assets/../dashboard.go", "/index.html"} {
		if resp := get(t, path); resp.StatusCode != 404 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func TestHandlerSparesTheNetwork(t *testing.T) {
	first := get(t, "/assets/vendor/xterm.js", "Accept-Encoding: gzip, br")
	if first.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal("not compressed")
	}
	zip, err := gzip.NewReader(first.Body)
	if err != nil {
		t.Fatal(err)
	}
	plain := body(t, get(t, "/assets/vendor/xterm.js").Body)
	if body(t, zip) != plain {
		t.Error("compressed, it is something else")
	}
	if again := get(t, "/assets/vendor/xterm.js", "If-None-Match: "+first.Header.Get("Etag")); again.StatusCode != 304 || body(t, again.Body) != "" {
		t.Errorf("again: %d", again.StatusCode)
	}
	if resp := get(t, "/assets/vendor/inter.woff2", "Accept-Encoding: gzip"); resp.Header.Get("Content-Encoding") != "" {
		t.Error("what is compressed already was compressed")
	}
}

// What guests say never becomes markup, and nothing is asked of other hosts.
func TestSourcesKeepToTheRules(t *testing.T) {
	never := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://`)
	namespace := "http://www.w3.org/2000/svg"
	err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(name, "/vendor/") {
			return err
		}
		content, err := assets.ReadFile(name)
		if found := never.FindString(strings.ReplaceAll(string(content), namespace, "")); found != "" {
			t.Errorf("%s has %q", name, found)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	page, err := assets.ReadFile("assets/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if inline := regexp.MustCompile(`<style|<script>|\son\w+=|\sstyle=`).Find(page); inline != nil {
		t.Errorf("the page has %q in it, which its policy forbids", inline)
	}
}
