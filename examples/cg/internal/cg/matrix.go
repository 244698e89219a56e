package cg

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"outboard/mpi"
)

// ErrNotPositiveDefinite says that the matrix is not one that conjugate gradients can work with.
var ErrNotPositiveDefinite = errors.New("matrix is not positive definite")

// A Matrix is one rank's rows of a distributed symmetric matrix, ready to be multiplied. It belongs to one goroutine.
type Matrix struct {
	world *mpi.Comm
	part  *Partition
	first int // the rank's rows of the whole matrix are [first, end)
	end   int

	ptr      []int64
	col      []int32 // indexes of Vector.all
	val      []float64
	diagonal []float64

	interior []span // rows that need no halo
	boundary []span // rows that do
	halo     halo
}

// A span is the run of a rank's rows [first, end), which count from the rank's first.
type span struct{ first, end int }

// A Vector is one rank's part of a distributed vector, with room for the halo that the matrix needs of it.
type Vector struct {
	all []float64 // halo entries of lower ranks, own entries, halo entries of higher ranks
	Own []float64 // the part of all that the rank owns
}

// NewMatrix prepares the rank's rows of a matrix, as [Distribute] or [Poisson] return them; it takes them over. All
// ranks must call it. If any rank's rows are malformed, or an entry on the diagonal is missing, zero, negative or
// NaN ([ErrNotPositiveDefinite]), all get an error.
func NewMatrix(world *mpi.Comm, part *Partition, rows Rows) (*Matrix, error) {
	m := &Matrix{world: world, part: part}
	m.first, m.end = part.Range(world.Rank())
	err := rows.check(m.first, m.end, part.rows)
	if err == nil {
		err = m.takeDiagonal(rows)
	}
	if err := Agree(world, err); err != nil {
		return nil, err
	}
	ghosts := m.findGhosts(rows)
	m.renumber(rows, ghosts)
	if m.halo, err = newHalo(world, part, ghosts); err != nil {
		return nil, err
	}
	return m, nil
}

// Entries returns the number of entries in the rank's rows.
func (m *Matrix) Entries() int { return len(m.val) }

// HaloSize returns the number of vector entries the rank receives for each product.
func (m *Matrix) HaloSize() int { return m.halo.size }

// NewVector returns a vector of zeros to multiply the matrix with.
func (m *Matrix) NewVector() *Vector {
	n := m.end - m.first
	all := make([]float64, n+m.halo.size)
	return &Vector{all: all, Own: all[m.halo.below : m.halo.below+n : m.halo.below+n]}
}

// Multiply stores the rank's part of the product with x in y, which has as many elements as x.Own. It also fills in the
// halo of x. All ranks must call it; it returns early if ctx ends.
func (m *Matrix) Multiply(ctx context.Context, y []float64, x *Vector) error {
	if err := m.halo.start(x); err != nil {
		return err
	}
	m.multiplyRows(m.interior, y, x.all)
	if err := m.halo.wait(ctx); err != nil {
		return err
	}
	m.multiplyRows(m.boundary, y, x.all)
	return nil
}

func (m *Matrix) multiplyRows(spans []span, y, x []float64) {
	for _, s := range spans {
		start := m.ptr[s.first]
		for i := s.first; i < s.end; i++ {
			end := m.ptr[i+1]
			col := m.col[start:end]
			val := m.val[start:end][:len(col)]
			sum := 0.0
			for k, c := range col {
				sum += val[k] * x[c]
			}
			y[i] = sum
			start = end
		}
	}
}

func (m *Matrix) takeDiagonal(rows Rows) error {
	m.diagonal = make([]float64, m.end-m.first)
	for i := range m.diagonal {
		start, end := rows.Ptr[i], rows.Ptr[i+1]
		if k, ok := slices.BinarySearch(rows.Col[start:end], int32(m.first+i)); ok {
			m.diagonal[i] = rows.Val[start+int64(k)]
		}
		if d := m.diagonal[i]; !(d > 0) || math.IsInf(d, 1) {
			return fmt.Errorf("%w: entry (%d, %[2]d) is %g, want it greater than 0", ErrNotPositiveDefinite, m.first+i+1, d)
		}
	}
	return nil
}

// findGhosts returns the columns that the rank's rows need of other ranks, ascending.
func (m *Matrix) findGhosts(rows Rows) []int32 {
	var ghosts []int32
	for _, c := range rows.Col {
		if int(c) < m.first || int(c) >= m.end {
			ghosts = append(ghosts, c)
		}
	}
	slices.Sort(ghosts)
	return slices.Clip(slices.Compact(ghosts))
}

// renumber turns columns of the whole matrix into indexes of Vector.all, which keeps them ascending, and sorts rows into
// those with and without halo.
func (m *Matrix) renumber(rows Rows, ghosts []int32) {
	m.ptr, m.col, m.val = rows.Ptr, make([]int32, len(rows.Col)), rows.Val
	below, _ := slices.BinarySearch(ghosts, int32(m.first))
	for i := range m.end - m.first {
		inside := true
		for k := rows.Ptr[i]; k < rows.Ptr[i+1]; k++ {
			c := rows.Col[k]
			if int(c) >= m.first && int(c) < m.end {
				m.col[k] = c - int32(m.first) + int32(below)
				continue
			}
			inside = false
			at, _ := slices.BinarySearch(ghosts, c)
			if int(c) >= m.end {
				at += m.end - m.first
			}
			m.col[k] = int32(at)
		}
		if inside {
			m.interior = extend(m.interior, i)
		} else {
			m.boundary = extend(m.boundary, i)
		}
	}
}

// extend adds row i to the last span if it follows on, else as a new one.
func extend(spans []span, i int) []span {
	if last := len(spans) - 1; last >= 0 && spans[last].end == i {
		spans[last].end++
		return spans
	}
	return append(spans, span{i, i + 1})
}
