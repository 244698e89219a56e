package cg

import (
	"context"

	"outboard/mpi"
)

// sums adds up over all ranks in an order that does not depend on their number: chunk by chunk, then over the chunks.
type sums struct {
	ctx     context.Context
	world   *mpi.Comm
	rows    int // rows that the rank has
	chunk   int
	first   int // the rank's first chunk
	chunks  int
	partial []float64 // a sum for each chunk, for each of up to two sums
}

func newSums(ctx context.Context, world *mpi.Comm, p *Partition) *sums {
	first, end := p.Range(world.Rank())
	return &sums{
		ctx: ctx, world: world.With(ctx), rows: end - first, chunk: p.chunk, first: first / p.chunk, chunks: p.chunks(),
		partial: make([]float64, 2*p.chunks()),
	}
}

// dot returns xᵀy.
func (s *sums) dot(x, y []float64) (float64, error) {
	xy, _, err := s.over(1, func(first, end int) (float64, float64) {
		sum := 0.0
		y := y[first:end]
		for i, v := range x[first:end] {
			sum += v * y[i]
		}
		return sum, 0
	})
	return xy, err
}

// over calls add for each of the rank's chunks, as a range of its rows, and returns the sums of its results over all
// ranks; with width 1 only of the first results. All ranks must call it, and all get the same bits.
func (s *sums) over(width int, add func(first, end int) (float64, float64)) (a, b float64, err error) {
	if err := s.ctx.Err(); err != nil { // a single rank never waits, and so would not notice
		return 0, 0, err
	}
	partial := s.partial[:width*s.chunks]
	clear(partial)
	c := s.first
	for first := 0; first < s.rows; first += s.chunk {
		a, b := add(first, min(first+s.chunk, s.rows))
		partial[c] = a
		if width == 2 {
			partial[s.chunks+c] = b
		}
		c++
	}
	if err := mpi.AllreduceInPlace(s.world, partial, mpi.Sum); err != nil {
		return 0, 0, err
	}
	for _, v := range partial[:s.chunks] {
		a += v
	}
	for _, v := range partial[s.chunks:] {
		b += v
	}
	return a, b, nil
}
