package http

import "net/http"

// Traces follow requests through what is done for them.
type Traces interface {
	// Request begins to follow a request. It returns the request to be served, whose
	// context knows of that, and what is called once when it is answered, with
	// what [Metrics] are told.
	Request(r *http.Request) (_ *http.Request, answered func(route string, status int))
}

// noTraces follow nothing.
type noTraces struct{}

func (noTraces) Request(r *http.Request) (*http.Request, func(string, int)) {
	return r, func(string, int) {}
}
