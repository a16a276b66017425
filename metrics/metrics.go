// Package metrics counts what a daemon does, for Prometheus to read.
//
// A [Recorder] is told what happens as it happens; what there is at a time, it
// asks for when it is read. docs/METRICS.md lists all it counts.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/coppice-vm/coppice"
)

// whole is the phase of a verb that is all of it.
const whole = "all"

// durations are the buckets of all histograms, in seconds: from what is answered
// at once to what is waited for.
var durations = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// censusTime is how long the host may take to say what there is.
const censusTime = 10 * time.Second

// A Recorder counts, and serves what it has counted. Its methods may be called
// concurrently.
type Recorder struct {
	http.Handler
	registry *prometheus.Registry

	verbs     *prometheus.HistogramVec
	wakes     *prometheus.CounterVec
	evictions prometheus.Counter
	requests  *prometheus.CounterVec
	answers   *prometheus.HistogramVec
}

// New returns a recorder that has counted nothing, of a daemon of that version.
func New(version string, log *slog.Logger) *Recorder {
	r := &Recorder{
		registry: prometheus.NewRegistry(),
		verbs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "coppice_verb_seconds", Help: "How long what is done to VMs takes, and its phases; the phase all is the whole.",
			Buckets: durations,
		}, []string{"verb", "phase", "outcome"}),
		wakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coppice_wakes_total", Help: "Suspended VMs that ran again, by what they were woken for.",
		}, []string{"cause"}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "coppice_evictions_total", Help: "VMs that were deleted for want of storage.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coppice_api_requests_total", Help: "Requests of the API that were answered.",
		}, []string{"method", "route", "status"}),
		answers: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "coppice_api_answer_seconds", Help: "How long after a request of the API its answer began.",
			Buckets: durations,
		}, []string{"method", "route"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "coppice_build_info", Help: "1, of the version of the daemon.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	r.registry.MustRegister(r.verbs, r.wakes, r.evictions, r.requests, r.answers, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.Handler = promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)})
	return r
}

// Did counts a verb that was done, or a phase of one if that is not empty.
func (r *Recorder) Did(verb coppice.Verb, phase string, took time.Duration, err error) {
	if phase == "" {
		phase = whole
	}
	outcome := "worked"
	if err != nil {
		outcome = "failed"
	}
	r.verbs.WithLabelValues(string(verb), phase, outcome).Observe(took.Seconds())
}

// Woke counts a VM that was woken for what by says.
func (r *Recorder) Woke(by string) { r.wakes.WithLabelValues(by).Inc() }

// Evicted counts a VM that was deleted for want of storage.
func (r *Recorder) Evicted() { r.evictions.Inc() }

// Answered counts a request that was answered, and how long it was until the
// answer began. The route is a pattern, or empty if there is none for it; then
// the method does not count either: clients could make up any number of them.
func (r *Recorder) Answered(method, route string, status int, after time.Duration) {
	if route == "" {
		method = ""
	}
	r.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	r.answers.WithLabelValues(method, route).Observe(after.Seconds())
}

// Watch adds what there is at a time, which take finds out. It is called once.
func (r *Recorder) Watch(take func(context.Context) (coppice.Census, error)) {
	r.registry.MustRegister(census(take))
}
