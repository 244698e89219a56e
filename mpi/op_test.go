package mpi_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"outboard/mpi"
	"outboard/nicrt"
)

type integer interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~int | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uint
}

type real interface {
	integer | ~float32 | ~float64
}

// operation is an operator and what it should do.
type operation[T any] struct {
	op mpi.Op
	f  func(a, b T) T
}

func arithmetic[T mpi.Number]() []operation[T] {
	return []operation[T]{
		{mpi.Sum, func(a, b T) T { return a + b }},
		{mpi.Prod, func(a, b T) T { return a * b }},
	}
}

func order[T real]() []operation[T] {
	return append(arithmetic[T](),
		operation[T]{mpi.Min, func(a, b T) T { return min(a, b) }},
		operation[T]{mpi.Max, func(a, b T) T { return max(a, b) }})
}

func logic[T integer]() []operation[T] {
	truth := func(ok bool) T {
		if ok {
			return 1
		}
		return 0
	}
	return append(order[T](),
		operation[T]{mpi.LogicalAnd, func(a, b T) T { return truth(a != 0 && b != 0) }},
		operation[T]{mpi.LogicalOr, func(a, b T) T { return truth(a != 0 || b != 0) }},
		operation[T]{mpi.LogicalXor, func(a, b T) T { return truth((a != 0) != (b != 0)) }},
		operation[T]{mpi.BitAnd, func(a, b T) T { return a & b }},
		operation[T]{mpi.BitOr, func(a, b T) T { return a | b }},
		operation[T]{mpi.BitXor, func(a, b T) T { return a ^ b }})
}

// reductions tries operators by Reduce and Allreduce.
func reductions[T mpi.Number](c *mpi.Comm, ops []operation[T], counts ...int) error {
	for _, count := range counts {
		for k, o := range ops {
			x := &trial[T]{c: c, count: count, salt: k, values: series[T]()}
			root := k % c.Size()
			want, mine := x.combined(o.f), x.block(c.Rank(), 0, count)
			err := errors.Join(
				x.call(fmt.Sprintf("Allreduce %v", o.op), mine, want, func(in, out []T) error { return mpi.Allreduce(c, in, out, o.op) }),
				x.call(fmt.Sprintf("Reduce %v", o.op), mine, either(c.Rank() == root, want, nil), func(in, out []T) error {
					return mpi.Reduce(c, in, out, o.op, root)
				}))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// MPI 4.1, 6.9.2: which operators go with which types.
func TestOperators(t *testing.T) {
	onAll(t, []int{1, 2, 3, 5, 8}, func(c *mpi.Comm) error {
		return errors.Join(
			reductions(c, logic[int8](), 1, 33), reductions(c, logic[int16](), 5), reductions(c, logic[int32](), 33), reductions(c, logic[index](), 1),
			reductions(c, logic[int64](), 9), reductions(c, logic[int](), 1), reductions(c, logic[uint8](), 100), reductions(c, logic[uint16](), 3),
			reductions(c, logic[uint32](), 3, 5000), reductions(c, logic[uint64](), 3), reductions(c, logic[uint](), 3),
			reductions(c, order[float32](), 1, 5001), reductions(c, order[float64](), 1, 17), reductions(c, order[celsius](), 3),
			reductions(c, arithmetic[complex64](), 1, 19), reductions(c, arithmetic[complex128](), 1, 2001),
		)
	})
}

// A map x → ax+b modulo 2^32 as a number: that maps are applied one after the other is associative, but the order counts.
func then(f, g uint64) uint64 {
	a, b := uint32(f>>32), uint32(f)
	c, d := uint32(g>>32), uint32(g)
	return uint64(a*c)<<32 | uint64(b*c+d)
}

func TestUserOperators(t *testing.T) {
	inOrder := mpi.OpFunc(false, func(in, inout []uint64) {
		for i, f := range in {
			inout[i] = then(f, inout[i])
		}
	})
	larger := mpi.OpFunc(true, func(in, inout []celsius) {
		for i, x := range in {
			inout[i] = max(x, inout[i])
		}
	})
	onAll(t, sizes, func(c *mpi.Comm) error {
		if err := reductions(c, []operation[celsius]{{larger, func(a, b celsius) celsius { return max(a, b) }}}, 0, 1, 3000); err != nil {
			return err
		}
		// The series repeats itself too soon to show the order of ranks.
		maps := rand.New(rand.NewPCG(3, 4))
		for _, count := range []int{0, 1, 2, 100, 1025, 20_001} {
			x := &trial[uint64]{c: c, count: count, values: make([]uint64, 997)}
			for i := range x.values {
				x.values[i] = maps.Uint64()
			}
			want, mine := x.combined(then), x.block(c.Rank(), 0, count)
			for root := range c.Size() {
				err := x.call("Reduce", mine, either(c.Rank() == root, want, nil), func(in, out []uint64) error { return mpi.Reduce(c, in, out, inOrder, root) })
				if err != nil {
					return err
				}
			}
			if err := x.call("Allreduce", mine, want, func(in, out []uint64) error { return mpi.Allreduce(c, in, out, inOrder) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// All ranks get the same bits, and the same ones each time, for sums that depend on the order of their terms.
func TestAllreduceBits(t *testing.T) {
	onAll(t, sizes, func(c *mpi.Comm) error {
		mine := rand.New(rand.NewPCG(uint64(c.Rank()), 9))
		for _, count := range []int{1, 3, 100, 700, 3001, 9001, 40_001} {
			in, out := make([]float64, count), make([]float64, count)
			for i := range in {
				in[i] = math.Ldexp(mine.Float64()-0.5, mine.IntN(60))
			}
			var first []float64
			for range 3 {
				if err := mpi.Allreduce(c, in, out, mpi.Sum); err != nil {
					return err
				}
				first = either(first == nil, slices.Clone(out), first)
				all := make([]float64, count*c.Size())
				if err := mpi.Allgather(c, out, all); err != nil {
					return err
				}
				for i, x := range all {
					if math.Float64bits(x) != math.Float64bits(first[i%count]) {
						return fmt.Errorf("element %d of %d is %v on rank %d, %v on rank %d", i%count, count, x, i/count, first[i%count], c.Rank())
					}
				}
			}
		}
		return nil
	})
}

// An operator that panics on one rank is an error on all, and the communicator is over.
func TestOperatorPanics(t *testing.T) {
	onAll(t, []int{2, 3, 8}, func(c *mpi.Comm) error {
		d, err := c.Dup()
		if err != nil {
			return err
		}
		moody := mpi.OpFunc(true, func(in, inout []int) {
			if c.Rank() == c.Size()-1 {
				panic("out of humour")
			}
		})
		err = mpi.AllreduceInPlace(d, make([]int, 300), moody)
		if err == nil { // this rank did not depend on the one that panicked
			_, err = mpi.Recv(d, make([]int, 1), mpi.AnySource, mpi.AnyTag)
		} else if err := says(err, "Allreduce on world.dup", "count 300"); err != nil {
			return err
		}
		var k *nicrt.KernelError
		if !errors.As(err, &k) && !errors.Is(err, mpi.ErrAborted) {
			return fmt.Errorf("the error is a %T: %w", err, err)
		}
		return errors.Join(says(err, "out of humour"), says(d.Barrier(), "out of humour"), c.Barrier())
	})
}

// says checks that an error has these words in it.
func says(err error, words ...string) error {
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			return fmt.Errorf("error %w, want one with %q", err, w)
		}
	}
	return nil
}
