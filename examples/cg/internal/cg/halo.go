package cg

import (
	"context"
	"fmt"
	"slices"

	"outboard/mpi"
)

// A halo exchanges exactly the vector entries that rows of other ranks need.
type halo struct {
	world    *mpi.Comm
	below    int // entries received from lower ranks
	size     int // entries received
	from     []incoming
	to       []outgoing
	requests []*mpi.Request
}

// An incoming message fills Vector.all[first:end].
type incoming struct{ rank, first, end int }

// An outgoing message is made of the own entries at index.
type outgoing struct {
	rank   int
	index  []int32
	buffer []float64
}

// newHalo lets the ranks tell each other what they need: first how many entries, so that everybody knows whom to
// expect a list from, then which.
func newHalo(world *mpi.Comm, part *Partition, ghosts []int32) (halo, error) {
	h := halo{world: world, size: len(ghosts)}
	first, end := part.Range(world.Rank())
	h.below, _ = slices.BinarySearch(ghosts, int32(first))
	needed, wanted := make([]int64, world.Size()), make([]int64, world.Size())
	for _, g := range ghosts {
		needed[part.owner(int(g))]++
	}
	if err := mpi.Alltoall(world, needed, wanted); err != nil {
		return h, err
	}
	h.expect(needed, end-first)
	if err := h.askFor(ghosts, needed, wanted); err != nil {
		return h, err
	}
	return h, Agree(world, h.own(first, end))
}

// expect lays out the incoming messages; own is the number of entries between those of lower and those of higher ranks.
func (h *halo) expect(needed []int64, own int) {
	at := 0
	for rank, count := range needed {
		if rank == h.world.Rank() {
			at += own
		}
		if count > 0 {
			h.from = append(h.from, incoming{rank, at, at + int(count)})
		}
		at += int(count)
	}
}

// askFor sends each neighbour the list of entries needed from it and receives the neighbours' lists.
func (h *halo) askFor(ghosts []int32, needed, wanted []int64) error {
	var requests []*mpi.Request
	for rank, count := range wanted {
		if count == 0 {
			continue
		}
		o := outgoing{rank: rank, index: make([]int32, count), buffer: make([]float64, count)}
		h.to = append(h.to, o)
		r, err := mpi.Irecv(h.world, o.index, rank, tagIndex)
		if err != nil {
			return err
		}
		requests = append(requests, r)
	}
	for rank, count := range needed {
		if count == 0 {
			continue
		}
		r, err := mpi.Isend(h.world, ghosts[:count], rank, tagIndex)
		if err != nil {
			return err
		}
		requests = append(requests, r)
		ghosts = ghosts[count:]
	}
	return mpi.WaitAll(context.Background(), requests...)
}

// own turns the indexes that neighbours asked for into those of Vector.Own.
func (h *halo) own(first, end int) error {
	for _, o := range h.to {
		for k, g := range o.index {
			if int(g) < first || int(g) >= end {
				return fmt.Errorf("rank %d asks for entry %d, want %d to %d", o.rank, g, first, end-1)
			}
			o.index[k] = g - int32(first)
		}
	}
	return nil
}

// start posts the receives into x's halo and sends x's entries.
func (h *halo) start(x *Vector) error {
	h.requests = h.requests[:0]
	for _, i := range h.from {
		r, err := mpi.Irecv(h.world, x.all[i.first:i.end], i.rank, tagHalo)
		if err != nil {
			return err
		}
		h.requests = append(h.requests, r)
	}
	for _, o := range h.to {
		for k, at := range o.index {
			o.buffer[k] = x.Own[at]
		}
		r, err := mpi.Isend(h.world, o.buffer, o.rank, tagHalo)
		if err != nil {
			return err
		}
		h.requests = append(h.requests, r)
	}
	return nil
}

// wait returns when all that start posted is done.
func (h *halo) wait(ctx context.Context) error { return mpi.WaitAll(ctx, h.requests...) }
