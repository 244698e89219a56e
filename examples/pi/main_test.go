package main

import (
	"fmt"
	"math"
	"testing"

	"outboard/mpi"
)

func TestPi(t *testing.T) {
	for _, size := range []int{1, 2, 3, 4, 5, 7, 8} {
		for _, test := range []struct {
			intervals int
			accuracy  float64
		}{{1, 0.06}, {5, 0.004}, {100_000, 1e-10}} {
			t.Run(fmt.Sprintf("%d ranks, %d intervals", size, test.intervals), func(t *testing.T) {
				err := mpi.Run(size, func(world *mpi.Comm) error {
					got, err := pi(world, test.intervals)
					if err == nil && !(math.Abs(got-math.Pi) <= test.accuracy) {
						err = fmt.Errorf("got %.15f, want π to %g", got, test.accuracy)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestPiErrors(t *testing.T) {
	for _, intervals := range []int{0, -1} {
		err := mpi.Run(2, func(world *mpi.Comm) error {
			if _, err := pi(world, intervals); err == nil {
				t.Errorf("%d intervals: got no error", intervals)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
