package cg

import (
	"errors"
	"fmt"
	"testing"

	"outboard/mpi"
)

func TestAgree(t *testing.T) {
	for _, test := range []struct {
		name   string
		failed []int
	}{
		{"none", nil},
		{"the first", []int{0}},
		{"the last", []int{3}},
		{"two", []int{1, 2}},
		{"all", []int{0, 1, 2, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, 4, func(world *mpi.Comm) error {
				var mine error
				for _, rank := range test.failed {
					if rank == world.Rank() {
						mine = fmt.Errorf("trouble on %d", rank)
					}
				}
				got := Agree(world, mine)
				var remote *RemoteError
				switch {
				case len(test.failed) == 0 || test.failed[0] == world.Rank():
					if got != mine {
						t.Errorf("rank %d: got %v, want %v", world.Rank(), got, mine)
					}
				case !errors.As(got, &remote):
					t.Errorf("rank %d: got %v (%T), want a *RemoteError", world.Rank(), got, got)
				case remote.Rank != test.failed[0] || remote.Text != fmt.Sprintf("trouble on %d", remote.Rank):
					t.Errorf("rank %d: got %v, want the error of rank %d", world.Rank(), got, test.failed[0])
				case mine != nil && !errors.Is(got, mine):
					t.Errorf("rank %d: got %v, want it to wrap %v", world.Rank(), got, mine)
				}
				return nil
			})
		})
	}
}

func TestAgreeOnEmptyText(t *testing.T) {
	run(t, 2, func(world *mpi.Comm) error {
		var mine error
		if world.Rank() == 1 {
			mine = errors.New("")
		}
		if Agree(world, mine) == nil {
			t.Errorf("rank %d: got no error", world.Rank())
		}
		return nil
	})
}
