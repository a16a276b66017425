package wsconn

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
)

// pair returns a connection and the other end of it.
func pair(t *testing.T) (ours, theirs *Conn) {
	t.Helper()
	accepted, done := make(chan *Conn), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		accepted <- New(r.Context(), ws)
		<-done
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(done) })
	ws, _, err := websocket.Dial(t.Context(), server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = New(t.Context(), ws), <-accepted
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// tcp returns the two ends of a connection of TCP.
func tcp(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// What goes in at one end comes out at the other, through two joints, and each
// way ends by itself.
func TestJoin(t *testing.T) {
	client, near := tcp(t)
	far, server := tcp(t)
	ours, theirs := pair(t)
	joined := make(chan error, 2)
	go func() { joined <- Join(near, ours) }()
	go func() { joined <- Join(theirs, far) }()

	want := make([]byte, 3<<20)
	rand.Read(want)
	go func() {
		client.Write(want)
		client.CloseWrite()
	}()
	if got, err := io.ReadAll(server); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, %v", len(got), err)
	}
	server.Write([]byte("thanks")) // after the other way has ended
	server.CloseWrite()
	if got, err := io.ReadAll(client); err != nil || string(got) != "thanks" {
		t.Errorf("%q came back, %v", got, err)
	}
	for range 2 {
		if err := <-joined; err != nil {
			t.Error(err)
		}
	}
}

// A connection that breaks is told from one that ends.
func TestBroken(t *testing.T) {
	ours, theirs := pair(t)
	client, near := tcp(t)
	joined := make(chan error, 1)
	go func() { joined <- Join(near, ours) }()
	theirs.Close()
	if err := <-joined; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("joined: %v", err)
	}
	if n, err := client.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
}
