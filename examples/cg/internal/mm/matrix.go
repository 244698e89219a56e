package mm

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// A Matrix is a square sparse matrix in compressed rows, indexed from 0. Row i has the columns Col[Ptr[i]:Ptr[i+1]],
// strictly ascending, and the values Val[Ptr[i]:Ptr[i+1]]. It is not changed after it has been read, so any number of
// goroutines may use it.
type Matrix struct {
	Ptr []int // row starts, one more than there are rows
	Col []int32
	Val []float64
}

// N returns the number of rows, which is also the number of columns.
func (m *Matrix) N() int { return len(m.Ptr) - 1 }

// At returns the value in row i and column j, 0 if there is no entry. It takes time logarithmic in the row's length.
func (m *Matrix) At(i, j int) float64 {
	cols := m.Col[m.Ptr[i]:m.Ptr[i+1]]
	if k, ok := slices.BinarySearch(cols, int32(j)); ok {
		return m.Val[m.Ptr[i]+k]
	}
	return 0
}

// symmetryTolerance bounds |a(i,j) − a(j,i)| in units of √|a(i,i)·a(j,j)|, which no off-diagonal entry of a positive
// definite matrix exceeds: loose enough for rounding in whatever program wrote the file, far below any modelling error.
const symmetryTolerance = 1e-12

// CheckSymmetric returns an error that names the first entry which has no equal on the other side of the diagonal.
func (m *Matrix) CheckSymmetric() error {
	diagonal := make([]float64, m.N())
	for i := range diagonal {
		diagonal[i] = math.Sqrt(math.Abs(m.At(i, i)))
	}
	for i := range m.N() {
		for k := m.Ptr[i]; k < m.Ptr[i+1]; k++ {
			j := int(m.Col[k])
			there, back := m.Val[k], m.At(j, i)
			if there != back && !(math.Abs(there-back) <= symmetryTolerance*diagonal[i]*diagonal[j]) {
				return fmt.Errorf("not symmetric: entry (%d, %d) is %g but entry (%d, %d) is %g",
					i+1, j+1, there, j+1, i+1, back)
			}
		}
	}
	return nil
}

// A triplet is one entry; rows and columns count from 0.
type triplet struct {
	row, col int32
	val      float64
}

// compress sorts the entries of an n × n matrix into rows and sums those that coincide, in their order in the file.
func compress(n int, entries []triplet) (*Matrix, error) {
	ptr := make([]int, n+1)
	for _, e := range entries {
		ptr[e.row+1]++
	}
	for i := range n {
		ptr[i+1] += ptr[i]
	}
	sorted := make([]triplet, len(entries))
	next := slices.Clone(ptr[:n])
	for _, e := range entries {
		sorted[next[e.row]] = e
		next[e.row]++
	}
	m := &Matrix{Ptr: make([]int, 1, n+1), Col: make([]int32, 0, len(entries)), Val: make([]float64, 0, len(entries))}
	for i := range n {
		if err := m.appendRow(sorted[ptr[i]:ptr[i+1]]); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// appendRow adds the next row, whose entries come in any order.
func (m *Matrix) appendRow(entries []triplet) error {
	slices.SortStableFunc(entries, func(a, b triplet) int { return cmp.Compare(a.col, b.col) })
	start := len(m.Col)
	for _, e := range entries {
		if last := len(m.Col) - 1; last >= start && m.Col[last] == e.col {
			m.Val[last] += e.val
			continue
		}
		m.Col = append(m.Col, e.col)
		m.Val = append(m.Val, e.val)
	}
	for k := start; k < len(m.Val); k++ {
		if math.IsInf(m.Val[k], 0) {
			return fmt.Errorf("the entries at (%d, %d) add up to %g, want a finite sum", len(m.Ptr), m.Col[k]+1, m.Val[k])
		}
	}
	m.Ptr = append(m.Ptr, len(m.Col))
	return nil
}
