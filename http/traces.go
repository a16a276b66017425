package http

import (
	"net/http"

	"github.com/coppice-vm/coppice"
)

// Traces follow requests through what is done for them.
type Traces interface {
	// Request begins to follow a request. It returns the request to be served, whose
	// context knows of that, and what is called once when it is answered, with
	// what [Metrics] are told, and the code of the error if it is one.
	Request(r *http.Request) (_ *http.Request, answered func(route string, status int, code coppice.Code))
}

// noTraces follow nothing.
type noTraces struct{}

func (noTraces) Request(r *http.Request) (*http.Request, func(string, int, coppice.Code)) {
	return r, func(string, int, coppice.Code) {}
}
