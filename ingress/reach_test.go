package ingress

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
)

// The way that leads somewhere first is taken, and nothing is left of the other.
func TestFirstOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		after := func(d time.Duration, conn net.Conn, err error) func(context.Context) (net.Conn, error) {
			return func(context.Context) (net.Conn, error) {
				time.Sleep(d)
				return conn, err
			}
		}
		fast, _ := net.Pipe()
		slow, far := net.Pipe()
		conn, err := firstOf(t.Context(), after(time.Second, slow, nil), after(time.Millisecond, fast, nil))
		if conn != fast || err != nil || time.Since(began) != headStart+time.Millisecond {
			t.Errorf("%v, %v after %v", conn, err, time.Since(began))
		}
		if n, err := far.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("the slow one: %d, %v", n, err)
		}

		began = time.Now()
		if conn, err = firstOf(t.Context(), after(time.Millisecond, nil, coppice.ErrRefused), after(time.Millisecond, fast, nil)); conn != fast || time.Since(began) != 2*time.Millisecond {
			t.Errorf("after a refusal: %v, %v after %v", conn, err, time.Since(began))
		}
		if conn, err = firstOf(t.Context(), after(headStart/2, fast, nil), nil); conn != fast {
			t.Errorf("the first within its head start: %v, %v", conn, err)
		}
		inside := errors.New("inside")
		if _, err = firstOf(t.Context(), after(time.Second, nil, coppice.ErrRefused), after(time.Millisecond, nil, inside)); !errors.Is(err, coppice.ErrRefused) || !errors.Is(err, inside) {
			t.Errorf("both failed: %v", err)
		}
		limited, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		hangs := func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		if _, err = firstOf(limited, hangs, hangs); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("both hang: %v", err)
		}
	})
}
