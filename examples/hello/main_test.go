package main

import (
	"bytes"
	"fmt"
	"testing"

	"outboard/mpi"
)

func TestHello(t *testing.T) {
	for _, size := range []int{1, 2, 3, 4, 5, 7, 8} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			out := make([]bytes.Buffer, size)
			if err := mpi.Run(size, func(world *mpi.Comm) error { return hello(world, &out[world.Rank()]) }); err != nil {
				t.Fatal(err)
			}
			for rank := range size {
				want := fmt.Sprintf("rank %d of %d: rank %d says hello\n", rank, size, (rank+size-1)%size)
				if got := out[rank].String(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}
