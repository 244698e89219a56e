package rdma

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"outboard/bench"
	"outboard/verbs"
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

// Memory is where the bytes lie that move.
type Memory string

const (
	Device Memory = "device" // of verbs.Context.AllocMem, which both processes map
	Go     Memory = "go"     // of Go's heap
)

// A Metric is what is measured of an operation.
type Metric string

const (
	Latency   Metric = "lat"  // microseconds
	Bandwidth Metric = "bw"   // MB/s
	Rate      Metric = "rate" // millions of messages a second
)

// Metrics and Memories are all there are.
var (
	Metrics  = []Metric{Latency, Bandwidth, Rate}
	Memories = []Memory{Device, Go}
)

// An operation is a kind of request.
type operation struct {
	name   string
	title  string
	opcode verbs.Opcode
}

var operations = []operation{
	{"send", "SEND", verbs.Send},
	{"write", "RDMA WRITE", verbs.Write},
	{"read", "RDMA READ", verbs.Read},
	{"fetch_add", "atomic fetch-and-add", verbs.FetchAdd},
	{"cmp_swap", "atomic compare-and-swap", verbs.CompareSwap},
}

func (op operation) atomic() bool {
	return op.opcode == verbs.FetchAdd || op.opcode == verbs.CompareSwap
}

// atomicSize is what an atomic moves, in bytes.
const atomicSize = 8

// ParseOperations reads a list such as "send,write,read,atomic", where atomic is fetch_add and cmp_swap. Errors name the item and
// wrap [ErrOption].
func ParseOperations(list string) ([]string, error) {
	var names []string
	for item := range strings.SplitSeq(list, ",") {
		switch item = strings.TrimSpace(item); {
		case item == "atomic":
			names = append(names, "fetch_add", "cmp_swap")
		case slices.ContainsFunc(operations, func(op operation) bool { return op.name == item }):
			names = append(names, item)
		default:
			return nil, fmt.Errorf("%w: operation %q, want send, write, read, atomic, fetch_add or cmp_swap", ErrOption, item)
		}
	}
	return names, nil
}

// ParseWords reads a list of words out of all. Errors name the item and wrap [ErrOption].
func ParseWords[T ~string](what, list string, all []T) ([]T, error) {
	var words []T
	for item := range strings.SplitSeq(list, ",") {
		word := T(strings.TrimSpace(item))
		if !slices.Contains(all, word) {
			return nil, fmt.Errorf("%w: %s %q, want some of %v", ErrOption, what, item, all)
		}
		words = append(words, word)
	}
	return words, nil
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

// Name returns the name of the experiment.
func Name(operation string, metric Metric, memory Memory) string {
	name := operation + "_" + string(metric)
	if memory == Go {
		name += "/" + string(Go)
	}
	return name
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
