package mpi_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"outboard/mpi"
)

// members tells who is in a communicator: the world ranks in its order.
func members(world, c *mpi.Comm) ([]int, error) {
	all := make([]int, c.Size())
	return all, mpi.Allgather(c, []int{world.Rank()}, all)
}

func TestSplit(t *testing.T) {
	cases := []struct {
		name       string
		color, key func(r, n int) int
		want       func(r, n int) []int // world ranks, nil for no communicator
	}{
		{"all, same keys", func(r, n int) int { return 3 }, func(r, n int) int { return 7 }, func(r, n int) []int { return count(n, nil) }},
		{"reversed by key", func(r, n int) int { return 0 }, func(r, n int) int { return -r }, func(r, n int) []int {
			all := count(n, nil)
			slices.Reverse(all)
			return all
		}},
		{"equal keys keep the order of ranks", func(r, n int) int { return 0 }, func(r, n int) int { return r % 2 }, func(r, n int) []int {
			return append(count(n, func(x int) bool { return x%2 == 0 }), count(n, func(x int) bool { return x%2 == 1 })...)
		}},
		{"alone", func(r, n int) int { return r }, func(r, n int) int { return 0 }, func(r, n int) []int { return []int{r} }},
		{"odd ones stay out", func(r, n int) int { return -(r % 2) }, func(r, n int) int { return r }, func(r, n int) []int {
			if r%2 == 1 {
				return nil
			}
			return count(n, func(x int) bool { return x%2 == 0 })
		}},
		{"nobody", func(r, n int) int { return mpi.Undefined }, func(r, n int) int { return r }, func(r, n int) []int { return nil }},
	}
	onAll(t, sizes, func(c *mpi.Comm) error {
		r, n := c.Rank(), c.Size()
		for _, k := range cases {
			part, err := c.Split(k.color(r, n), k.key(r, n))
			want := k.want(r, n)
			if err != nil || (part == nil) != (want == nil) {
				return fmt.Errorf("%s: %v, %w", k.name, part, err)
			}
			if part == nil {
				continue
			}
			got, err := members(c, part)
			if err != nil || !slices.Equal(got, want) || part.Rank() != slices.Index(want, r) {
				return fmt.Errorf("%s: rank %d of %v, want %v: %w", k.name, part.Rank(), got, want, err)
			}
			if err := part.Free(); err != nil {
				return err
			}
		}
		return nil
	})
}

// count gives the numbers below n for which ok holds.
func count(n int, ok func(int) bool) []int {
	var all []int
	for i := range n {
		if ok == nil || ok(i) {
			all = append(all, i)
		}
	}
	return all
}

// Halves of halves down to single ranks, all alive at the same time.
func TestSplitTree(t *testing.T) {
	var descend func(world, c *mpi.Comm) error
	descend = func(world, c *mpi.Comm) error {
		dup, err := c.Dup()
		if err != nil {
			return err
		}
		if c.Size() > 1 {
			half, err := dup.Split(2*dup.Rank()/dup.Size(), 0)
			if err != nil {
				return err
			}
			if err := descend(world, half); err != nil {
				return err
			}
			if err := half.Free(); err != nil {
				return err
			}
		}
		for _, x := range []*mpi.Comm{c, dup} {
			all, err := members(world, x)
			if err != nil || !slices.IsSorted(all) || all[x.Rank()] != world.Rank() || all[len(all)-1]-all[0] != len(all)-1 {
				return fmt.Errorf("%s has %v: %w", x.Name(), all, err)
			}
			if err := exercise[int](x, 5, world.Rank()/8, []int{0}); err != nil {
				return err
			}
		}
		return dup.Free()
	}
	onAll(t, sizes, func(c *mpi.Comm) error { return descend(c, c) })
}

func TestSplitBadColor(t *testing.T) {
	onAll(t, []int{1, 3}, func(c *mpi.Comm) error {
		color := 0
		if c.Rank() == c.Size()-1 {
			color = -2
		}
		part, err := c.Split(color, 0)
		if part != nil {
			return errors.New("there is a communicator")
		}
		// The communicator is as it was.
		return errors.Join(expect(err, mpi.ErrColor, "Split", fmt.Sprintf("rank %d gives color -2", c.Size()-1)), c.Barrier())
	})
}

func TestUseAfterFree(t *testing.T) {
	onAll(t, []int{1, 2}, func(c *mpi.Comm) error {
		d, err := c.Dup()
		if err != nil {
			return err
		}
		if err := d.Free(); err != nil {
			return err
		}
		x, y := []int{1}, []int{1}
		view := d.With(bg)
		errs := map[string]error{
			"Send": mpi.Send(d, x, 0, 0), "Barrier": view.Barrier(), "Bcast": mpi.Bcast(d, x, 0), "Free": d.Free(),
			"Reduce": mpi.Reduce(d, x, y, mpi.Sum, 0), "Allreduce": mpi.Allreduce(d, x, y, mpi.Sum), "Gather": mpi.Gather(d, x, y, 0),
			"Scatter": mpi.Scatter(d, x, y, 0), "Allgather": mpi.Allgather(d, x, y), "Alltoall": mpi.Alltoall(d, x, y),
		}
		_, errs["Recv"] = mpi.Recv(d, x, 0, 0)
		_, errs["Isend"] = mpi.Isend(d, x, 0, 0)
		_, errs["Irecv"] = mpi.Irecv(view, x, 0, 0)
		_, errs["Sendrecv"] = mpi.Sendrecv(d, x, 0, 0, y, 0, 0)
		_, errs["Probe"] = d.Probe(0, 0)
		_, _, errs["Iprobe"] = d.Iprobe(0, 0)
		_, errs["Dup"] = d.Dup()
		_, errs["Split"] = d.Split(0, 0)
		for name, err := range errs {
			if err := expect(err, mpi.ErrFreed, name, "world.dup"); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
}

// A receive that nobody will serve ends when its communicator is freed.
func TestFreeEndsReceives(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		d, err := c.Dup()
		if err != nil {
			return err
		}
		r, err := mpi.Irecv(d, make([]int, 1), mpi.AnySource, mpi.AnyTag)
		if err != nil {
			return err
		}
		if err := d.Free(); err != nil {
			return err
		}
		_, err = r.Wait(bg)
		return expect(err, mpi.ErrFreed)
	})
}

// Ids of communicators are used again when there are no new ones, and running out of them is an error on all
// ranks, after which there may be communicators again.
func TestCommunicatorsRunOut(t *testing.T) {
	const limit = 70
	onAll(t, []int{1, 3}, func(c *mpi.Comm) error {
		mpi.LimitComms(c, limit)
		for range 3 * limit {
			d, err := c.Dup()
			if err != nil {
				return err
			}
			if err := errors.Join(d.Barrier(), d.Free()); err != nil {
				return err
			}
		}
		var all []*mpi.Comm
		for range limit - 1 {
			d, err := c.Dup()
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		_, err := c.Dup()
		if err := expect(err, mpi.ErrComm, "70 communicators are in use"); err != nil {
			return err
		}
		for i, d := range all {
			if err := exercise[int](d, 3, i, []int{0}); err != nil {
				return err
			}
			if err := d.Free(); err != nil {
				return err
			}
		}
		d, err := c.Dup()
		if err != nil {
			return err
		}
		return d.Free()
	})
}

// Goroutines make communicators at the same time, each out of one of its own, in whatever order they come.
func TestConcurrentDups(t *testing.T) {
	onAll(t, []int{1, 2, 4}, func(c *mpi.Comm) error {
		const threads, rounds = 4, 15
		own := make([]*mpi.Comm, threads)
		for i := range own {
			var err error
			if own[i], err = c.Split(i*(c.Rank()%(i+1)), 0); err != nil {
				return err
			}
		}
		errs := make([]error, threads)
		var wg sync.WaitGroup
		for i := range own {
			wg.Go(func() {
				errs[i] = func() error {
					for range rounds {
						d, err := own[i].Dup()
						if err != nil {
							return err
						}
						sum := []int{d.Rank() + 1}
						if err := mpi.AllreduceInPlace(d, sum, mpi.Sum); err != nil {
							return err
						}
						if n := d.Size(); sum[0] != n*(n+1)/2 {
							return fmt.Errorf("the sum over %d ranks of %s is %d", n, d.Name(), sum[0])
						}
						if err := d.Free(); err != nil {
							return err
						}
					}
					return nil
				}()
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}
