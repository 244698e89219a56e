package cg_test

import (
	"context"
	"fmt"

	"outboard/examples/cg/internal/cg"
	"outboard/mpi"
)

// Three ranks solve Poisson's equation on 2×2×2 points with a load of 3 on each; by symmetry all get the same value.
func Example() {
	err := mpi.Run(3, func(world *mpi.Comm) error {
		part, rows, err := cg.Poisson(2, world.Size(), world.Rank(), false)
		if err != nil {
			return err
		}
		a, err := cg.NewMatrix(world, part, rows)
		if err != nil {
			return err
		}
		x := a.NewVector().Own
		b := make([]float64, len(x))
		for i := range b {
			b[i] = 3
		}
		result, err := cg.Solve(context.Background(), a, b, x, cg.Options{Tolerance: 1e-10, MaxIterations: 100})
		if world.Rank() == 0 {
			fmt.Println(x, result.Iterations)
		}
		return err
	})
	fmt.Println(err)
	// Output:
	// [1 1 1] 1
	// <nil>
}
