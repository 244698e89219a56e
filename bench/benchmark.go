package bench

import (
	"errors"
	"fmt"
	"strings"

	"outboard/mpi"
)

// Better says which of two values of a benchmark wins.
type Better string

const (
	Lower  Better = "lower"
	Higher Better = "higher"
)

// A Benchmark is one experiment. Its fields are not to be changed.
type Benchmark struct {
	Name     string
	Summary  string // one line for people
	Unit     string
	Better   Better
	Sizes    []int // bytes; measured unless told otherwise
	MinRanks int
	MinSize  int // bytes
	Multiple int // sizes are multiples of so many bytes

	// Run measures one size, in bytes. All ranks of c call it together with the same size; rank 0's value, in Unit,
	// counts. An error means that the measurement failed, as for a message that arrived damaged.
	Run func(c *mpi.Comm, size int) (float64, error)
}

var benchmarks = []*Benchmark{
	{
		Name: "pingpong", Summary: "half of a round trip between two ranks", Unit: "us", Better: Lower,
		Sizes:    []int{0, 8, 64, 1 << 10, 8 << 10, 64 << 10, 1 << 20, 4 << 20},
		MinRanks: 2, MinSize: 0, Multiple: 1, Run: pingpong,
	},
	{
		Name: "bandwidth", Summary: "windows of 64 messages from one rank to another", Unit: "MB/s", Better: Higher,
		Sizes:    []int{8, 64, 1 << 10, 8 << 10, 64 << 10, 1 << 20, 4 << 20},
		MinRanks: 2, MinSize: 1, Multiple: 1, Run: bandwidth,
	},
	{
		Name: "allreduce", Summary: "sum of doubles over all ranks, back to back", Unit: "us", Better: Lower,
		Sizes:    []int{8, 64, 1 << 10, 8 << 10, 64 << 10, 1 << 20, 4 << 20},
		MinRanks: 1, MinSize: doubleSize, Multiple: doubleSize, Run: allreduce,
	},
}

// All returns the benchmarks in their customary order.
func All() []*Benchmark { return append([]*Benchmark(nil), benchmarks...) }

// Select returns the named benchmarks in the order of the names, all of them when there are none. An unknown name is an
// error that wraps [ErrCase].
func Select(names ...string) ([]*Benchmark, error) {
	if len(names) == 0 {
		return All(), nil
	}
	chosen := make([]*Benchmark, len(names))
	for i, name := range names {
		if chosen[i] = lookup(name); chosen[i] == nil {
			return nil, fmt.Errorf("%w: there is no benchmark %q, only %s", ErrCase, name, allNames())
		}
	}
	return chosen, nil
}

func lookup(name string) *Benchmark {
	for _, b := range benchmarks {
		if b.Name == name {
			return b
		}
	}
	return nil
}

func allNames() string {
	names := make([]string, len(benchmarks))
	for i, b := range benchmarks {
		names[i] = b.Name
	}
	return strings.Join(names, ", ")
}

// ErrCase is wrapped by errors about a benchmark, a size, a number of ranks or a fabric that cannot be measured.
var ErrCase = errors.New("cannot measure")

// MaxSize is the largest message in bytes: what C's int can count.
const MaxSize = 1<<31 - 1

// Check reports whether the benchmark can measure messages of size bytes on so many ranks. Its errors wrap [ErrCase].
func (b *Benchmark) Check(ranks, size int) error {
	switch {
	case ranks < b.MinRanks:
		return fmt.Errorf("%w: %s on %d ranks, wants at least %d", ErrCase, b.Name, ranks, b.MinRanks)
	case size < b.MinSize || size > MaxSize:
		return fmt.Errorf("%w: %s of %d bytes, wants %d to %d", ErrCase, b.Name, size, b.MinSize, MaxSize)
	case size%b.Multiple != 0:
		return fmt.Errorf("%w: %s of %d bytes, wants a multiple of %d", ErrCase, b.Name, size, b.Multiple)
	}
	return nil
}
