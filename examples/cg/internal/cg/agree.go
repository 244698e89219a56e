package cg

import (
	"fmt"

	"outboard/mpi"
)

// A RemoteError is an error that another rank has to tell of.
type RemoteError struct {
	Rank int
	Text string
	Own  error // what went wrong on this rank besides; nil if nothing did
}

func (e *RemoteError) Error() string { return fmt.Sprintf("rank %d: %s", e.Rank, e.Text) }

func (e *RemoteError) Unwrap() error { return e.Own }

// Agree returns nil on every rank if err is nil on every rank. Otherwise the lowest rank with an error gets its own back,
// and all others get it as a *[RemoteError], so that it need be told only once. All ranks must call it.
func Agree(world *mpi.Comm, err error) error {
	failed := []int64{int64(world.Size())}
	if err != nil {
		failed[0] = int64(world.Rank())
	}
	if e := mpi.AllreduceInPlace(world, failed, mpi.Min); e != nil {
		return e
	}
	first := int(failed[0])
	if first == world.Size() {
		return nil
	}
	var text []byte
	if world.Rank() == first {
		text = []byte(err.Error())
	}
	text, e := bcastSlice(world, text, first)
	if e != nil {
		return e
	}
	if world.Rank() == first {
		return err
	}
	return &RemoteError{Rank: first, Text: string(text), Own: err}
}

// bcastSlice sends a slice whose length only the root knows. It returns the root's slice on every rank.
func bcastSlice[T mpi.Number](world *mpi.Comm, s []T, root int) ([]T, error) {
	length := []int64{int64(len(s))}
	if err := mpi.Bcast(world, length, root); err != nil {
		return nil, err
	}
	if world.Rank() != root {
		s = make([]T, length[0])
	}
	if length[0] == 0 {
		return s, nil
	}
	return s, mpi.Bcast(world, s, root)
}
