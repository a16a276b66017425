// Package traces tells a collector, by OpenTelemetry's protocol (OTLP) over
// HTTP, which parts there are of what a daemon does, and how long each takes.
//
// The standard variables of the environment, OTEL_*, say where to and what of
// it. A collector that is slow or gone holds nothing up: what cannot be sent
// in time is dropped. docs/TRACES.md says what there is.
package traces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/coppice-vm/coppice"
)

// flushTime is how long a daemon that ends tries to send what it has not sent.
const flushTime = 2 * time.Second

// A Tracer makes spans. Its methods may be called concurrently.
type Tracer struct {
	trace.Tracer
	provider *sdktrace.TracerProvider // nil if nobody is told
}

// New returns the tracer that the environment asks for, of a daemon of that
// version: one that does nothing unless it names an endpoint. An error says what
// is wrong with a variable. The caller closes it.
func New(ctx context.Context, version string, log *slog.Logger) (*Tracer, error) {
	if !wanted() {
		return &Tracer{Tracer: noop.NewTracerProvider().Tracer("")}, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "http/protobuf" {
			return nil, fmt.Errorf("%s is %q; traces are sent by http/protobuf only", name, p)
		}
	}
	for _, name := range endpoints {
		endpoint := os.Getenv(name)
		if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("%s is %q; want a URL, as in http://127.0.0.1:4318", name, endpoint)
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "coppice"), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("traces: %w", err), exporter.Shutdown(ctx))
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(&herald{SpanExporter: exporter, log: log}), sdktrace.WithResource(about))
	return &Tracer{provider.Tracer("github.com/coppice-vm/coppice"), provider}, nil
}

// Variables is what the names of the variables begin with that [New] looks at.
const Variables = "OTEL_"

// endpoints are the variables that say where to.
var endpoints = []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}

// wanted reports whether the environment names an endpoint, and does not say that
// nothing is to be sent there.
func wanted() bool {
	named := slices.ContainsFunc(endpoints, func(name string) bool { return os.Getenv(name) != "" })
	return named && !strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") && os.Getenv("OTEL_TRACES_EXPORTER") != "none"
}

// Close sends what has not been sent, if that does not take long.
func (t *Tracer) Close() error {
	if t.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // the log says so
	return nil
}

// Begin implements lifecycle.Tracer.
func (t *Tracer) Begin(ctx context.Context, part coppice.Part) (context.Context, func(time.Time, error)) {
	ctx, span := t.Start(ctx, part.Name, trace.WithTimestamp(part.Began), trace.WithAttributes(attribute.String("coppice.vm.id", string(part.VM))))
	if part.Capture != "" {
		span.SetAttributes(attribute.String("coppice.capture.id", string(part.Capture)))
	}
	return ctx, func(at time.Time, err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
			if e, ok := errors.AsType[*coppice.Error](err); ok {
				span.SetAttributes(attribute.String("error.type", string(e.Code)))
			}
		}
		span.End(trace.WithTimestamp(at))
	}
}

// Request implements http.Traces. A request that says which trace it is part of,
// as the W3C has it, goes on with that one. What only looks at the daemon, and
// does so all the time, has no trace.
func (t *Tracer) Request(r *http.Request) (*http.Request, func(route string, status int, code coppice.Code)) {
	if r.URL.Path == "/metrics" || r.URL.Path == "/healthz" {
		return r, func(string, int, coppice.Code) {}
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", r.Method)))
	return r.WithContext(ctx), func(route string, status int, code coppice.Code) {
		if route != "" {
			span.SetName(r.Method + " " + route)
			span.SetAttributes(attribute.String("http.route", route))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if code != "" {
			span.SetAttributes(attribute.String("error.type", string(code)))
		}
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// A herald exports spans, and says in the log when that begins to fail and when it
// works again.
type herald struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing bool // of the one goroutine that exports
}

// ExportSpans never fails: nobody could do more about it.
func (h *herald) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := h.SpanExporter.ExportSpans(ctx, spans)
	switch failing := err != nil; {
	case failing && !h.failing:
		h.log.Warn("traces cannot be sent, and are dropped until they can", "error", err)
	case !failing && h.failing:
		h.log.Info("traces are sent again")
	}
	h.failing = err != nil
	return nil
}
