package cg

import (
	"fmt"

	"outboard/examples/cg/internal/mm"
	"outboard/mpi"
)

// Rows is a run of consecutive rows of a square matrix. The run's row i has the columns Col[Ptr[i]:Ptr[i+1]], which
// count from 0 in the whole matrix and strictly ascend, and the values Val[Ptr[i]:Ptr[i+1]].
type Rows struct {
	Ptr []int64 // Ptr[0] is 0; one more than there are rows
	Col []int32
	Val []float64
}

// check returns an error unless the rows are those of the range [first, end) of a matrix with n columns.
func (r Rows) check(first, end, n int) error {
	if len(r.Ptr) != end-first+1 || r.Ptr[0] != 0 {
		return fmt.Errorf("%d row starts, want %d from 0 on", len(r.Ptr), end-first+1)
	}
	entries := r.Ptr[end-first]
	if entries != int64(len(r.Col)) || entries != int64(len(r.Val)) {
		return fmt.Errorf("%d columns and %d values, want %d", len(r.Col), len(r.Val), entries)
	}
	for i := range end - first {
		if r.Ptr[i] > r.Ptr[i+1] || r.Ptr[i+1] > entries {
			return fmt.Errorf("row %d ends at entry %d, want %d to %d", first+i, r.Ptr[i+1], r.Ptr[i], entries)
		}
		last := -1
		for _, c := range r.Col[r.Ptr[i]:r.Ptr[i+1]] {
			if int(c) <= last || int(c) >= n {
				return fmt.Errorf("row %d has column %d after %d, want ascending ones below %d", first+i, c, last, n)
			}
			last = int(c)
		}
	}
	return nil
}

const (
	tagRows = iota
	tagIndex
	tagHalo
)

// Distribute deals out the rows of m, which is nil but on rank 0: by the number of entries or, with byRows, by the
// number of rows. All ranks must call it.
func Distribute(world *mpi.Comm, m *mm.Matrix, byRows bool) (*Partition, Rows, error) {
	var p *Partition
	shape := []int{0, 0}
	if world.Rank() == 0 {
		var weight func(int) int
		if !byRows {
			weight = func(i int) int { return m.Ptr[i+1] - m.Ptr[i] }
		}
		p = NewPartition(m.N(), world.Size(), weight)
		shape = []int{p.rows, p.chunk}
	}
	if err := mpi.Bcast(world, shape, 0); err != nil {
		return nil, Rows{}, err
	}
	if world.Rank() != 0 {
		p = &Partition{rows: shape[0], chunk: shape[1], starts: make([]int, world.Size()+1)}
	}
	if err := mpi.Bcast(world, p.starts, 0); err != nil {
		return nil, Rows{}, err
	}
	if world.Rank() != 0 {
		rows, err := receiveRows(world, p)
		return p, rows, err
	}
	for rank := 1; rank < world.Size(); rank++ {
		first, end := p.Range(rank)
		if err := sendRows(world, cut(m, first, end), rank); err != nil {
			return nil, Rows{}, err
		}
	}
	first, end := p.Range(0)
	return p, cut(m, first, end), nil
}

// cut returns the rows [first, end) of m and shares its columns and values.
func cut(m *mm.Matrix, first, end int) Rows {
	ptr := make([]int64, end-first+1)
	for i := range ptr {
		ptr[i] = int64(m.Ptr[first+i] - m.Ptr[first])
	}
	return Rows{Ptr: ptr, Col: m.Col[m.Ptr[first]:m.Ptr[end]], Val: m.Val[m.Ptr[first]:m.Ptr[end]]}
}

// sendRows sends three messages that receiveRows receives; a rank without rows is sent none.
func sendRows(world *mpi.Comm, r Rows, rank int) error {
	if len(r.Ptr) == 1 {
		return nil
	}
	if err := mpi.Send(world, r.Ptr, rank, tagRows); err != nil {
		return err
	}
	if err := mpi.Send(world, r.Col, rank, tagRows); err != nil {
		return err
	}
	return mpi.Send(world, r.Val, rank, tagRows)
}

func receiveRows(world *mpi.Comm, p *Partition) (Rows, error) {
	first, end := p.Range(world.Rank())
	r := Rows{Ptr: make([]int64, end-first+1)}
	if first == end {
		return r, nil
	}
	if _, err := mpi.Recv(world, r.Ptr, 0, tagRows); err != nil {
		return r, err
	}
	entries := r.Ptr[end-first]
	r.Col, r.Val = make([]int32, entries), make([]float64, entries)
	if _, err := mpi.Recv(world, r.Col, 0, tagRows); err != nil {
		return r, err
	}
	_, err := mpi.Recv(world, r.Val, 0, tagRows)
	return r, err
}
