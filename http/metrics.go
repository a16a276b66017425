package http

import "net/http"

// Metrics count requests, and serve what is counted.
type Metrics interface {
	http.Handler
	// Answered says how a request ended. The route is a pattern of the API's, or
	// empty if there is none for it.
	Answered(method, route string, status int)
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request, _ caller) error {
	s.config.Metrics.ServeHTTP(w, r)
	return nil
}
