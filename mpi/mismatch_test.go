package mpi_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"outboard/mpi"
)

// A rank whose part of the data is empty by mistake must not leave the others waiting.
func TestOneRankHasNothing(t *testing.T) {
	calls := map[string]func(c *mpi.Comm, n int) error{
		"allreduce": func(c *mpi.Comm, n int) error {
			return mpi.Allreduce(c, make([]int, n), make([]int, n), mpi.Sum)
		},
		"reduce": func(c *mpi.Comm, n int) error {
			return mpi.Reduce(c, make([]int, n), make([]int, n), mpi.Sum, 0)
		},
		"bcast":     func(c *mpi.Comm, n int) error { return mpi.Bcast(c, make([]int, n), 0) },
		"gather":    func(c *mpi.Comm, n int) error { return mpi.Gather(c, make([]int, n), make([]int, n*c.Size()), 0) },
		"scatter":   func(c *mpi.Comm, n int) error { return mpi.Scatter(c, make([]int, n*c.Size()), make([]int, n), 0) },
		"allgather": func(c *mpi.Comm, n int) error { return mpi.Allgather(c, make([]int, n), make([]int, n*c.Size())) },
		"alltoall": func(c *mpi.Comm, n int) error {
			return mpi.Alltoall(c, make([]int, n*c.Size()), make([]int, n*c.Size()))
		},
	}
	for name, call := range calls {
		for _, size := range []int{2, 3, 5} {
			for _, mine := range []int{0, 3} {
				t.Run(fmt.Sprintf("%s/%d ranks/%d elements on rank 1", name, size, mine), func(t *testing.T) {
					err := mpi.Run(size, func(c *mpi.Comm) error {
						ctx, cancel := context.WithTimeout(bg, 10*time.Second)
						defer cancel()
						n := 3 - mine
						if c.Rank() == 1 {
							n = mine
						}
						c = c.With(ctx)
						if err := call(c, n); err != nil {
							return err
						}
						return c.Barrier()
					})
					if err == nil || errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("ended with %v", err)
					}
				})
			}
		}
	}
}

// All ranks may have nothing.
func TestNobodyHasAnything(t *testing.T) {
	onAll(t, sizes, func(c *mpi.Comm) error {
		var none []float64
		return errors.Join(mpi.Allreduce(c, none, none, mpi.Sum), mpi.Bcast(c, none, 0), mpi.Gather(c, none, none, 0),
			mpi.Alltoall(c, none, none), mpi.Allgather(c, none, none), mpi.Scatter(c, none, none, 0), mpi.Reduce(c, none, none, mpi.Max, 0))
	})
}
