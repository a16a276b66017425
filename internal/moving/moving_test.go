package moving

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		n := 0
		c := Conn(ours, func() { n++ })
		want := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			if n != want {
				t.Errorf("%s: said %d times, want %d", what, n, want)
			}
		}
		go io.Copy(theirs, theirs)
		c.Write([]byte("x"))
		want("a write", 1)
		time.Sleep(2 * interval)
		c.Read(make([]byte, 1))
		want("a read later", 2)
		c.Write([]byte("x"))
		c.Read(make([]byte, 1))
		want("at once", 2)
		time.Sleep(2 * interval)
		want("quiet", 2)
		c.(interface{ CloseWrite() error }).CloseWrite()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("it is not closed")
		}
		want("nothing", 2)
	})
}

// Of many who call at once one is heard, and again after a while.
func TestSparingly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		f := Sparingly(func() { calls.Add(1) })
		for want := range int64(3) {
			for range 100 {
				go f()
			}
			synctest.Wait()
			if got := calls.Load(); got != want+1 {
				t.Errorf("called %d times, want %d", got, want+1)
			}
			time.Sleep(interval - 1)
			f()
			if got := calls.Load(); got != want+1 {
				t.Error("called too soon")
			}
			time.Sleep(1 * time.Nanosecond)
		}
	})
}
