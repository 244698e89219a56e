package mpi_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"outboard/mpi"
)

// Four ranks as goroutines add up their numbers.
func ExampleRun() {
	err := mpi.Run(4, func(world *mpi.Comm) error {
		sum := []float64{0}
		if err := mpi.Allreduce(world, []float64{float64(world.Rank() + 1)}, sum, mpi.Sum); err != nil {
			return err
		}
		if world.Rank() == 0 {
			fmt.Println("the sum is", sum[0])
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: the sum is 10
}

// A message travels while its sender computes.
func ExampleIsend() {
	err := mpi.Run(2, func(world *mpi.Comm) error {
		if world.Rank() == 0 {
			r, err := mpi.Isend(world, []int32{1, 2, 3}, 1, 7)
			if err != nil {
				return err
			}
			// … compute; the slice is the request's until Wait …
			_, err = r.Wait(context.Background())
			return err
		}
		buf := make([]int32, 10)
		st, err := mpi.Recv(world, buf, mpi.AnySource, mpi.AnyTag)
		if err != nil {
			return err
		}
		n, _ := mpi.Count[int32](st)
		fmt.Println("from", st.Source, "with tag", st.Tag, buf[:n])
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: from 0 with tag 7 [1 2 3]
}

// An operator of one's own: the largest absolute value.
func ExampleOpFunc() {
	absMax := mpi.OpFunc(true, func(in, inout []int) {
		for i, x := range in {
			inout[i] = max(inout[i], x, -x)
		}
	})
	err := mpi.Run(3, func(world *mpi.Comm) error {
		out := make([]int, 1)
		err := mpi.Reduce(world, []int{-10 * world.Rank()}, out, absMax, 0)
		if world.Rank() == 0 {
			fmt.Println(out[0])
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: 20
}

// Ranks with the same color form a communicator of their own.
func ExampleComm_Split() {
	err := mpi.Run(5, func(world *mpi.Comm) error {
		odd, err := world.Split(world.Rank()%2, world.Rank())
		if err != nil {
			return err
		}
		if world.Rank() == 3 {
			fmt.Printf("rank 3 of the world is rank %d of %d\n", odd.Rank(), odd.Size())
		}
		return odd.Free()
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: rank 3 of the world is rank 1 of 2
}

// An error says what was wrong, with whom.
func ExampleError() {
	err := mpi.Run(2, func(world *mpi.Comm) error {
		err := mpi.Send(world, []float64{1}, 2, 0)
		if world.Rank() == 0 {
			fmt.Println(errors.Is(err, mpi.ErrRank), err)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: true mpi: Send on world, rank 0, tag 0, count 1: rank out of range: rank 2: expected 0 to 1
}
