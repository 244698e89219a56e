// Pi integrates 4/(1+x²) from 0 to 1, each rank its share of the intervals, and adds the shares up with Allreduce.
//
//	outboard run -n 4 ./examples/pi
//	outboard run -n 4 ./examples/pi -intervals 1000000000
package main

import (
	"flag"
	"fmt"
	"math"

	"outboard/mpi"
)

func main() {
	intervals := flag.Int("intervals", 10_000_000, "split the integral into `n` intervals")
	flag.Parse()
	mpi.Main(func(world *mpi.Comm) error {
		sum, err := pi(world, *intervals)
		if err == nil && world.Rank() == 0 {
			fmt.Printf("π = %.15f, off by %.1e\n", sum, math.Abs(sum-math.Pi))
		}
		return err
	})
}

// pi applies the midpoint rule: rank r takes the intervals r, r + size, r + 2·size and so on. All ranks get the sum.
func pi(world *mpi.Comm, intervals int) (float64, error) {
	if intervals < 1 {
		return 0, fmt.Errorf("%d intervals, want at least 1", intervals)
	}
	width := 1 / float64(intervals)
	share := 0.0
	for i := world.Rank(); i < intervals; i += world.Size() {
		x := (float64(i) + 0.5) * width
		share += 4 / (1 + x*x)
	}
	sum := []float64{share * width}
	err := mpi.AllreduceInPlace(world, sum, mpi.Sum)
	return sum[0], err
}
