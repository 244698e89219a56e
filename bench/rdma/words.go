package rdma

import (
	"fmt"
	"slices"
	"strings"

	"outboard/verbs"
)

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

// Name returns the name of the experiment.
func Name(operation string, metric Metric, memory Memory) string {
	name := operation + "_" + string(metric)
	if memory == Go {
		name += "/" + string(Go)
	}
	return name
}
