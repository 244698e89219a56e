package mpi_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"outboard/mpi"
)

// collective is a collective operation with sizes as a rank wants them.
type collective struct {
	name string
	call func(c *mpi.Comm, count int) error
}

var allCollectives = []collective{
	{"Bcast", func(c *mpi.Comm, n int) error { return mpi.Bcast(c, make([]float64, n), 0) }},
	{"Reduce", func(c *mpi.Comm, n int) error {
		return mpi.Reduce(c, make([]float64, n), make([]float64, n), mpi.Sum, 0)
	}},
	{"Allreduce", func(c *mpi.Comm, n int) error { return mpi.AllreduceInPlace(c, make([]float64, n), mpi.Sum) }},
	{"Gather", func(c *mpi.Comm, n int) error {
		return mpi.Gather(c, make([]float64, n), make([]float64, n*c.Size()), 0)
	}},
	{"Scatter", func(c *mpi.Comm, n int) error {
		return mpi.Scatter(c, make([]float64, n*c.Size()), make([]float64, n), 0)
	}},
	{"Allgather", func(c *mpi.Comm, n int) error {
		return mpi.Allgather(c, make([]float64, n), make([]float64, n*c.Size()))
	}},
	{"Alltoall", func(c *mpi.Comm, n int) error {
		return mpi.Alltoall(c, make([]float64, n*c.Size()), make([]float64, n*c.Size()))
	}},
}

// promptly fails a test that hangs, with all goroutines' stacks.
func promptly(t *testing.T) {
	t.Helper()
	alarm := time.AfterFunc(30*time.Second, func() { panic(t.Name() + " hangs") })
	t.Cleanup(func() { alarm.Stop() })
}

// One rank brings another count than the others. Each rank gets an error, from the operation itself or, where it had done
// its part before anybody noticed, from whatever it does next on the communicator. The world goes on.
func TestCountsDisagree(t *testing.T) {
	promptly(t)
	for _, k := range allCollectives {
		t.Run(k.name, func(t *testing.T) {
			onAll(t, []int{2, 3, 5}, func(c *mpi.Comm) error {
				for odd := range c.Size() {
					d, err := c.Dup()
					if err != nil {
						return err
					}
					count := either(c.Rank() == odd, 12, 10)
					err = k.call(d, count)
					if err == nil {
						_, err = mpi.Recv(d, make([]int, 1), mpi.AnySource, mpi.AnyTag)
					} else if err := says(err, fmt.Sprintf("%s on world.dup, rank %d", k.name, d.Rank()), fmt.Sprint("count ", count)); err != nil {
						return err
					}
					if !errors.Is(err, mpi.ErrCount) && !errors.Is(err, mpi.ErrAborted) {
						return fmt.Errorf("the error is %w", err)
					}
					if err := errors.Join(says(err, mpi.ErrCount.Error()), says(d.Barrier(), mpi.ErrCount.Error()), c.Barrier()); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

// The same with messages that are read from the sender's buffer, where it is less gentle: nobody hangs, everybody gets an error.
func TestLargeCountsDisagree(t *testing.T) {
	promptly(t)
	for _, k := range allCollectives {
		for _, w := range worlds {
			t.Run(k.name+"/"+w.name, func(t *testing.T) {
				const n = 3
				errs := make([]error, n)
				_ = w.run(n, func(c *mpi.Comm) error {
					err := k.call(c, 20_000+c.Rank()/2)
					if err == nil {
						_, err = mpi.Recv(c, make([]int, 1), mpi.AnySource, mpi.AnyTag)
					}
					errs[c.Rank()] = err
					return nil
				})
				for r, err := range errs {
					var e *mpi.Error
					if !errors.As(err, &e) || e.Rank != r {
						t.Errorf("rank %d got %v", r, err)
					}
				}
			})
		}
	}
}

// Ranks that call different collectives, or name different roots, get an error or wait for what never comes. A deadline ends that on all.
func TestOperationsDisagree(t *testing.T) {
	promptly(t)
	roots := func(c *mpi.Comm, n int) error { return mpi.Bcast(c, make([]float64, n), c.Rank()%2) }
	gathers := func(c *mpi.Comm, n int) error {
		return mpi.Gather(c, make([]float64, n), make([]float64, n*c.Size()), c.Rank()%2)
	}
	barrier := func(c *mpi.Comm, n int) error { return c.Barrier() }
	cases := []struct {
		name       string
		even, odd  func(c *mpi.Comm, n int) error
		undetected bool // no rank need notice
	}{
		{"Barrier and Allreduce", barrier, allCollectives[2].call, false},
		{"Bcast and Reduce", allCollectives[0].call, allCollectives[1].call, true},
		{"Allgather and Alltoall", allCollectives[5].call, allCollectives[6].call, true},
		{"roots of Bcast", roots, roots, true},
		{"roots of Gather", gathers, gathers, true},
		{"one is missing", barrier, func(*mpi.Comm, int) error { return nil }, false},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			onAll(t, []int{2, 3}, func(c *mpi.Comm) error {
				d, err := c.Dup()
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
				defer cancel()
				err = either(c.Rank()%2 == 0, k.even, k.odd)(d.With(ctx), 10)
				if err == nil && !k.undetected {
					_, err = mpi.Recv(d, make([]int, 1), mpi.AnySource, mpi.AnyTag)
				}
				if err == nil && k.undetected {
					return c.Barrier()
				}
				if !errors.Is(err, mpi.ErrAborted) && !errors.Is(err, mpi.ErrCount) {
					return fmt.Errorf("the error is %w", err)
				}
				return c.Barrier()
			})
		})
	}
}

// One rank stays away until the others give up: a deadline on one rank ends the collective on all, and the error names the rank and the reason.
func TestCollectiveDeadline(t *testing.T) {
	promptly(t)
	for _, k := range append(allCollectives, collective{"Barrier", func(c *mpi.Comm, _ int) error { return c.Barrier() }}) {
		for _, count := range []int{4, 50_000} {
			t.Run(fmt.Sprint(k.name, "/", count), func(t *testing.T) {
				onAll(t, []int{3}, func(c *mpi.Comm) error {
					d, err := c.Dup()
					if err != nil {
						return err
					}
					away := 1
					if k.name == "Bcast" || k.name == "Scatter" { // whose other ranks need only the root
						away = 0
					}
					if c.Rank() == away {
						_, err := mpi.Recv(d, make([]int, 1), mpi.AnySource, mpi.AnyTag)
						return errors.Join(expect(err, mpi.ErrAborted, "aborted by rank", context.DeadlineExceeded.Error()),
							expect(k.call(d, count), mpi.ErrAborted, k.name))
					}
					ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
					defer cancel()
					err = k.call(d.With(ctx), count)
					if err == nil { // it needed nothing from that rank
						_, err = mpi.Recv(d, make([]int, 1), mpi.AnySource, mpi.AnyTag)
					}
					return expect(err, mpi.ErrAborted, context.DeadlineExceeded.Error())
				})
			})
		}
	}
}

// A context that is over before the call, and a call that need not wait.
func TestContextAlreadyOver(t *testing.T) {
	promptly(t)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	onAll(t, []int{1, 2}, func(c *mpi.Comm) error {
		d, err := c.Dup()
		if err != nil {
			return err
		}
		if c.Size() == 1 {
			return d.With(ctx).Barrier() // nothing to wait for
		}
		if c.Rank() == 0 {
			return expect(d.With(ctx).Barrier(), mpi.ErrAborted, context.Canceled.Error(), "Barrier on world.dup, rank 0")
		}
		_, err = mpi.Recv(d, make([]int, 1), 0, 0)
		return expect(err, mpi.ErrAborted, "aborted by rank 0", context.Canceled.Error())
	})
}
