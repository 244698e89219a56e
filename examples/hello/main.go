// Hello passes a greeting around a ring of ranks.
//
//	outboard run -n 4 ./examples/hello
package main

import (
	"fmt"
	"io"
	"os"

	"outboard/mpi"
)

func main() {
	mpi.Main(func(world *mpi.Comm) error { return hello(world, os.Stdout) })
}

// hello sends each rank's number to the next and receives that of the one before; the last sends to rank 0.
func hello(world *mpi.Comm, out io.Writer) error {
	rank, size := world.Rank(), world.Size()
	next, before := (rank+1)%size, (rank+size-1)%size
	from := []int{-1}
	if _, err := mpi.Sendrecv(world, []int{rank}, next, 0, from, before, 0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "rank %d of %d: rank %d says hello\n", rank, size, from[0])
	return err
}
