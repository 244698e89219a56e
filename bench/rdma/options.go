package rdma

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"outboard/bench"
)

// Options say how to measure. A zero field stands for its default.
type Options struct {
	Iterations int  `json:"iterations,omitempty"` // messages of each queue pair; by default as many as the size calls for
	QPs        int  `json:"qps,omitempty"`        // queue pairs, 1 to MaxQPs; 1. Latency has always one
	Depth      int  `json:"depth,omitempty"`      // requests outstanding on one queue pair (tx depth), 1 to MaxDepth; 128
	Moderation int  `json:"moderation,omitempty"` // one in so many requests is signaled, 1 to Depth; 1 for latency, else a quarter of Depth
	Inline     *int `json:"inline,omitempty"`     // send inline up to so many bytes, 0 to MaxInline; DefaultInline, 0 for bandwidth
	Both       bool `json:"both,omitempty"`       // bandwidth and rate in both directions at a time
}

const (
	// MaxQPs, MaxDepth and MaxInline are the largest Options.
	MaxQPs    = 128
	MaxDepth  = 1 << 14
	MaxInline = 512
	// MaxIterations is the largest Options.Iterations.
	MaxIterations = 1 << 30
	// DefaultInline is what latency and rate send inline unless told otherwise, in bytes.
	DefaultInline = 220
	// MaxMemory bounds the memory of one experiment on each side, in bytes.
	MaxMemory = 1 << 30

	defaultDepth = 128
)

// ErrOption is wrapped by errors about an option that is out of range.
var ErrOption = errors.New("bad option")

// Check reports an option that is out of range: its error wraps [ErrOption].
func (o Options) Check() error {
	depth := o.depth()
	for _, x := range []struct {
		name          string
		v, least, max int
	}{
		{"iterations", o.Iterations, 0, MaxIterations}, {"queue pairs", o.QPs, 0, MaxQPs},
		{"tx depth", o.Depth, 0, MaxDepth}, {"CQ moderation", o.Moderation, 0, depth}, {"inline size", o.inlineOr(0), 0, MaxInline},
	} {
		if x.v < x.least || x.v > x.max {
			return fmt.Errorf("%w: %s %d, want %d to %d", ErrOption, x.name, x.v, max(x.least, 1), x.max)
		}
	}
	return nil
}

func (o Options) depth() int {
	if o.Depth == 0 {
		return defaultDepth
	}
	return o.Depth
}

func (o Options) inlineOr(otherwise int) int {
	if o.Inline == nil {
		return otherwise
	}
	return *o.Inline
}

// Encode returns the options as one argument for a worker, and Decode reads it.
func (o Options) Encode() string {
	b, err := json.Marshal(o)
	if err != nil { // numbers and a bool
		return "{}"
	}
	return string(b)
}

// Decode is the inverse of [Options.Encode]. Its errors wrap [ErrOption].
func Decode(arg string) (Options, error) {
	var o Options
	d := json.NewDecoder(strings.NewReader(arg))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, fmt.Errorf("%w: %q: %w", ErrOption, arg, err)
	}
	return o, o.Check()
}

// Benchmarks returns every experiment on a fabric, by name.
func (o Options) Benchmarks(fabric bench.Fabric) map[string]*bench.Benchmark {
	all := make(map[string]*bench.Benchmark)
	for _, op := range operations {
		for _, metric := range Metrics {
			for _, memory := range Memories {
				b := experiment{o, fabric, op, metric, memory}.benchmark()
				all[b.Name] = b
			}
		}
	}
	for _, b := range rawBenchmarks() {
		all[b.Name] = b
	}
	return all
}

// ParseCases reads arguments of bench.Arguments with the experiments of o on a fabric. Its errors name the argument and wrap
// [bench.ErrCase].
func (o Options) ParseCases(fabric bench.Fabric, args []string) ([]bench.Case, error) {
	all := o.Benchmarks(fabric)
	cases := make([]bench.Case, len(args))
	for i, arg := range args {
		name, size, _ := strings.Cut(arg, ":")
		sizes, err := bench.ParseSizes(size)
		if all[name] == nil || err != nil || len(sizes) != 1 {
			return nil, fmt.Errorf("%w: argument %q, want EXPERIMENT:BYTES", bench.ErrCase, arg)
		}
		cases[i] = bench.Case{Benchmark: all[name], Size: sizes[0]}
	}
	return cases, nil
}
