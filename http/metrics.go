package http

import (
	"net/http"
	"time"
)

// Metrics count requests, and serve what is counted.
type Metrics interface {
	http.Handler
	// Answered says how a request was answered, and how long it was until the
	// answer began. The route is a pattern of the API's, or empty if there is
	// none for it.
	Answered(method, route string, status int, after time.Duration)
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request, _ caller) error {
	s.config.Metrics.ServeHTTP(w, r)
	return nil
}
