package traces_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/spantest"
	"github.com/coppice-vm/coppice/traces"
)

func open(t *testing.T, env ...string) (*traces.Tracer, error) {
	t.Helper()
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	return traces.New(t.Context(), "1.2.3", slog.New(slog.DiscardHandler))
}

// part makes a span of a VM.
func part(t *testing.T, tracer *traces.Tracer, err error) {
	t.Helper()
	began := time.Now()
	_, end := tracer.Begin(t.Context(), coppice.Part{Name: "vm.stop", VM: "some-vm", Capture: "some-capture", Began: began})
	end(began.Add(time.Second), err)
}

// What fails says so, and with what code; what took time keeps it.
func TestFailure(t *testing.T) {
	collector := spantest.New(t)
	tracer, err := open(t, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+collector.URL+"/v1/traces")
	if err != nil {
		t.Fatal(err)
	}
	part(t, tracer, coppice.Errorf(coppice.CodeConflict, "no"))
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	spans := collector.All()
	if len(spans) != 1 || !spans[0].Failed || spans[0].Attributes["error.type"] != string(coppice.CodeConflict) ||
		spans[0].Attributes["coppice.vm.id"] != "some-vm" || spans[0].Attributes["coppice.capture.id"] != "some-capture" || spans[0].Ended.Sub(spans[0].Began) != time.Second {
		t.Errorf("%+v", spans)
	}
}

// Nobody is told who is not to be, and a variable that makes no sense is said to.
func TestEnvironment(t *testing.T) {
	for _, env := range []string{"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT="} {
		t.Run(env, func(t *testing.T) {
			collector := spantest.New(t)
			tracer, err := open(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, env)
			if err != nil {
				t.Fatal(err)
			}
			part(t, tracer, nil)
			tracer.Close()
			if spans := collector.All(); len(spans) > 0 {
				t.Errorf("sent: %+v", spans)
			}
		})
	}
	for _, endpoint := range []string{"127.0.0.1:4318", "localhost:4318", "ftp://localhost"} {
		if _, err := open(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint); err == nil || !strings.Contains(err.Error(), "want a URL") {
			t.Errorf("%s for an endpoint: %v", endpoint, err)
		}
	}
	_, err := open(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	if err == nil || !strings.Contains(err.Error(), "http/protobuf") {
		t.Errorf("a protocol that is not spoken: %v", err)
	}
}

// A collector that takes connections and never answers holds up nothing but, for
// a moment, the end.
func TestCollectorThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tracer, err := open(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String(), "OTEL_BSP_SCHEDULE_DELAY=1")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for range 10_000 { // more than is kept
			part(t, tracer, errors.New("no"))
		}
		done <- tracer.Close()
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it is held up")
	}
}

// A collector that is gone is said to be once, and once that it is back.
func TestCollectorThatComesAndGoes(t *testing.T) {
	var gone atomic.Bool
	took := make(chan bool) // whether it was
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		was := gone.Load()
		if was {
			w.WriteHeader(http.StatusForbidden) // which is not tried again
		}
		took <- was
	}))
	defer collector.Close()
	for name, value := range map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_BSP_SCHEDULE_DELAY": "1"} {
		t.Setenv(name, value)
	}
	var log bytes.Buffer
	tracer, err := traces.New(t.Context(), "1.2.3", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, away := range []bool{false, true, true, true, false, false} {
		gone.Store(away)
		part(t, tracer, nil)
		if was := <-took; was != away {
			t.Fatalf("it was gone: %v, want %v", was, away)
		}
	}
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Count(text, "cannot be sent") != 1 || strings.Count(text, "sent again") != 1 {
		t.Errorf("the log says\n%s", text)
	}
}
