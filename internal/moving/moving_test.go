package moving

import (
	"io"
	"net"
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
