// Command h2server serves HTTP/1.1, and HTTP/2 without TLS, at port 3001: it
// answers every line of a call like those of gRPC as it comes, and ends with
// trailers; all else it answers with the protocol.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net/http"
)

func main() {
	s := &http.Server{Addr: "127.0.0.1:3001", Handler: http.HandlerFunc(serve), Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	log.Fatal(s.ListenAndServe())
}

func serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") != "application/grpc" {
		fmt.Fprintln(w, r.Proto)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	http.NewResponseController(w).Flush()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); http.NewResponseController(w).Flush() {
		fmt.Fprintln(w, r.Proto, lines.Text())
	}
	w.Header().Set("Grpc-Status", "0")
}
