// Package spantest is a collector of traces for tests: what is sent to it by
// OTLP over HTTP can be looked at.
package spantest

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A Span is a part of a trace.
type Span struct {
	Name              string
	Trace, ID, Parent string // in hexadecimal; a parent that is "" is none
	Began, Ended      time.Time
	Failed            bool
	// Attributes are its own, and those of the service that sent it.
	Attributes map[string]string
}

// A Collector takes spans.
type Collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans []Span
	news  chan struct{} // closed when there are more
}

// New returns a collector that ends with the test.
func New(t testing.TB) *Collector {
	c := &Collector{news: make(chan struct{})}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(r); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *Collector) take(r *http.Request) error {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" {
		return fmt.Errorf("this is no place for traces")
	}
	body := io.Reader(r.Body)
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		body = unzipped
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var sent collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &sent); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range sent.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, read(s, of.Resource.GetAttributes()))
			}
		}
	}
	close(c.news)
	c.news = make(chan struct{})
	return nil
}

func read(s *tracev1.Span, resource []*common.KeyValue) Span {
	span := Span{
		Name:  s.Name,
		Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
		Began: time.Unix(0, int64(s.StartTimeUnixNano)), Ended: time.Unix(0, int64(s.EndTimeUnixNano)),
		Failed:     s.Status.GetCode() == tracev1.Status_STATUS_CODE_ERROR,
		Attributes: map[string]string{},
	}
	for _, kv := range append(resource, s.Attributes...) {
		value := kv.Value.GetStringValue()
		if n, ok := kv.Value.GetValue().(*common.AnyValue_IntValue); ok {
			value = fmt.Sprint(n.IntValue)
		}
		span.Attributes[kv.Key] = value
	}
	return span
}

// All returns all spans that have come.
func (c *Collector) All() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Await returns the spans of a trace when enough says so of them, which is asked
// whenever some have come; it fails the test if that is not within a deadline.
func (c *Collector) Await(t testing.TB, trace string, deadline time.Duration, enough func([]Span) bool) []Span {
	t.Helper()
	late := time.After(deadline)
	for {
		c.mu.Lock()
		news := c.news
		c.mu.Unlock()
		spans := slices.DeleteFunc(c.All(), func(s Span) bool { return s.Trace != trace })
		if enough(spans) {
			return spans
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("of the trace there is only %+v", spans)
		}
	}
}

// Tree draws a trace, a line for each span, indented below its parent, in the
// order in which they began. Whatever has a parent that was not sent comes first.
func Tree(spans []Span) string {
	var b strings.Builder
	sent := map[string]bool{}
	for _, s := range spans {
		sent[s.ID] = true
	}
	var draw func(parent func(Span) bool, depth int)
	draw = func(of func(Span) bool, depth int) {
		for _, s := range byBeginning(spans) {
			if of(s) {
				fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), s.Name)
				draw(func(child Span) bool { return child.Parent == s.ID }, depth+1)
			}
		}
	}
	draw(func(s Span) bool { return !sent[s.Parent] }, 0)
	return b.String()
}

func byBeginning(spans []Span) []Span {
	return slices.SortedStableFunc(slices.Values(spans), func(a, b Span) int { return a.Began.Compare(b.Began) })
}

// CheckTimes returns an error about a span that does not lie within its parent.
func CheckTimes(spans []Span) error {
	byID := map[string]Span{}
	for _, s := range spans {
		byID[s.ID] = s
	}
	for _, s := range spans {
		if s.Ended.Before(s.Began) {
			return fmt.Errorf("%s ended before it began", s.Name)
		}
		if parent, ok := byID[s.Parent]; ok && (s.Began.Before(parent.Began) || s.Ended.After(parent.Ended)) {
			return fmt.Errorf("%s does not lie within %s", s.Name, parent.Name)
		}
	}
	return nil
}
