package http

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

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

func TestLargeFilesAreNotHeld(t *testing.T) {
	h := newHarness(t)
	guest := &hashGuest{}
	h.vms.guest = guest
	id := string(h.vms.add(coppice.VM{}))
	const size = 24 << 20
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
		if grown := int64(peak) - int64(before.HeapInuse); grown > size/2 {
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
	if left, err := os.ReadDir(h.server.config.SpoolDir); err != nil || len(left) != 0 {
		t.Errorf("the spool has %v, %v", left, err)
	}
}

type letters struct{}

var manyAs = bytes.Repeat([]byte("A"), 32<<10)
