package mpi_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"outboard/mpi"
)

// Types of one's own, as programs have them.
type (
	celsius float64
	index   int32
)

// series gives numbers of any type whose sums and products over a few ranks are exact.
func series[T mpi.Number]() []T {
	s := make([]T, 61)
	for i := range s {
		v := reflect.ValueOf(&s[i]).Elem()
		switch x := i%7 - 3; {
		case v.CanInt():
			v.SetInt(int64(x))
		case v.CanUint():
			v.SetUint(uint64(i % 5))
		case v.CanFloat():
			v.SetFloat(float64(x))
		default:
			v.SetComplex(complex(float64(x), float64(i%3-1)))
		}
	}
	return s
}

// guarded makes a buffer and a check that its surroundings have not been written to.
func guarded[T mpi.Number](n int) ([]T, func() error) {
	const margin = 3
	mark := series[T]()[5]
	all := slices.Repeat([]T{mark}, n+2*margin)
	return all[margin : margin+n : margin+n], func() error {
		for i := range margin {
			if all[i] != mark || all[len(all)-1-i] != mark {
				return errors.New("written past the buffer")
			}
		}
		return nil
	}
}

// trial is one round of all collectives with elements of type T.
type trial[T mpi.Number] struct {
	c      *mpi.Comm
	count  int
	salt   int
	values []T
}

// at is the i-th element that a rank contributes.
func (x *trial[T]) at(rank, i int) T { return x.values[(rank*17+i+x.salt)%len(x.values)] }

// block is n elements of a rank, from the off-th.
func (x *trial[T]) block(rank, off, n int) []T {
	return x.repeated(n, func(i int) T { return x.at(rank, off+i) })
}

// combined folds the ranks' contributions in the order of ranks.
func (x *trial[T]) combined(f func(a, b T) T) []T {
	return x.repeated(x.count, func(i int) T {
		v := x.at(0, i)
		for r := 1; r < x.c.Size(); r++ {
			v = f(v, x.at(r, i))
		}
		return v
	})
}

// repeated makes n elements that repeat themselves as the values do.
func (x *trial[T]) repeated(n int, f func(i int) T) []T {
	b := make([]T, n)
	period := min(n, len(x.values))
	for i := range period {
		b[i] = f(i)
	}
	for ; 0 < period && period < n; period *= 2 {
		copy(b[period:], b[:period])
	}
	return b
}

func (x *trial[T]) sums() []T { return x.combined(func(a, b T) T { return a + b }) }

// call runs one collective and compares what is in out with what should be there; in must stay as it was.
func (x *trial[T]) call(name string, in, want []T, f func(in, out []T) error) error {
	out, intact := guarded[T](len(want))
	before := slices.Clone(in)
	err := f(in, out)
	switch {
	case err != nil:
	case !slices.Equal(out, want):
		err = fmt.Errorf("got %.20v, want %.20v", out, want)
	case !slices.Equal(in, before):
		err = errors.New("send buffer changed")
	default:
		err = intact()
	}
	if err != nil {
		return fmt.Errorf("%s of %d %T on rank %d of %d: %w", name, x.count, *new(T), x.c.Rank(), x.c.Size(), err)
	}
	return nil
}

// exercise runs every collective for each of the roots.
func exercise[T mpi.Number](c *mpi.Comm, count, salt int, roots []int) error {
	x := &trial[T]{c: c, count: count, salt: salt, values: series[T]()}
	for _, root := range roots {
		if err := x.rooted(root); err != nil {
			return fmt.Errorf("root %d: %w", root, err)
		}
	}
	return x.rootless()
}

func (x *trial[T]) rooted(root int) error {
	c, r, n := x.c, x.c.Rank(), x.c.Size()
	mine := x.block(r, 0, x.count)
	var atRoot, sum, deal []T // nil on the others
	if r == root {
		sum = x.sums()
		deal = x.block(root, 0, n*x.count)
		for k := range n {
			atRoot = append(atRoot, x.block(k, 0, x.count)...)
		}
	}
	return errors.Join(
		x.call("Bcast", nil, x.block(root, 0, x.count), func(_, out []T) error {
			if r == root {
				copy(out, mine)
			}
			return mpi.Bcast(c, out, root)
		}),
		x.call("Reduce", mine, sum, func(in, out []T) error { return mpi.Reduce(c, in, out, mpi.Sum, root) }),
		x.call("Reduce in place", nil, either(r == root, sum, mine), func(_, out []T) error {
			copy(out, mine)
			return mpi.Reduce(c, out, out, mpi.Sum, root)
		}),
		x.call("Gather", mine, atRoot, func(in, out []T) error { return mpi.Gather(c, in, out, root) }),
		x.call("Scatter", deal, x.block(root, r*x.count, x.count), func(in, out []T) error { return mpi.Scatter(c, in, out, root) }),
	)
}

func either[T any](ok bool, a, b T) T {
	if ok {
		return a
	}
	return b
}

func (x *trial[T]) rootless() error {
	c, r, n := x.c, x.c.Rank(), x.c.Size()
	mine := x.block(r, 0, x.count)
	var all, mixed []T
	for k := range n {
		all = append(all, x.block(k, 0, x.count)...)
		mixed = append(mixed, x.block(k, r*x.count, x.count)...)
	}
	return errors.Join(
		c.Barrier(),
		x.call("Allreduce", mine, x.sums(), func(in, out []T) error { return mpi.Allreduce(c, in, out, mpi.Sum) }),
		x.call("AllreduceInPlace", nil, x.sums(), func(_, out []T) error {
			copy(out, mine)
			return mpi.AllreduceInPlace(c, out, mpi.Sum)
		}),
		x.call("Allgather", mine, all, func(in, out []T) error { return mpi.Allgather(c, in, out) }),
		x.call("Alltoall", x.block(r, 0, n*x.count), mixed, func(in, out []T) error { return mpi.Alltoall(c, in, out) }),
	)
}

// elements are the types that the collectives are tried with.
var elements = []struct {
	name string
	size int
	run  func(c *mpi.Comm, count, salt int, roots []int) error
}{
	{"int8", 1, exercise[int8]}, {"uint16", 2, exercise[uint16]}, {"index", 4, exercise[index]}, {"int", 8, exercise[int]},
	{"float32", 4, exercise[float32]}, {"celsius", 8, exercise[celsius]},
	{"complex64", 8, exercise[complex64]}, {"complex128", 16, exercise[complex128]},
}

// bytes at which something changes: one packet, the longest eager payload of a schedule, a piece of
// a long reduction, an algorithm.
var steps = []int{2 << 10, 8 << 10, 16 << 10, 64 << 10}

// Every collective with every root, small and around the limits.
func TestCollectives(t *testing.T) {
	onAll(t, sizes, func(c *mpi.Comm) error {
		roots := make([]int, c.Size())
		for i := range roots {
			roots[i] = i
		}
		ends := slices.Compact([]int{0, c.Size() - 1})
		for i, e := range elements {
			for _, count := range []int{0, 1, 3, 7} {
				if err := e.run(c, count, i+count, roots); err != nil {
					return err
				}
			}
			step := steps[i%len(steps)] / e.size
			for _, count := range []int{step - 1, step, step + 1} {
				if err := e.run(c, count, i, ends); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Buffers of many pieces, on odd and even numbers of ranks.
func TestCollectivesLarge(t *testing.T) {
	onAll(t, []int{1, 2, 3, 5, 8}, func(c *mpi.Comm) error {
		return errors.Join(
			exercise[float64](c, 70_001, 1, []int{c.Size() - 1}),
			exercise[complex64](c, 33_333, 2, []int{0}),
			exercise[int8](c, 600_001, 3, []int{c.Size() / 2}),
		)
	})
}
