package cg

import (
	"context"
	"math"
	"testing"

	"go.uber.org/goleak"
	"gonum.org/v1/gonum/mat"

	"outboard/examples/cg/internal/mm"
	"outboard/mpi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sizes are the numbers of ranks that results must not depend on.
var sizes = []int{1, 2, 3, 4, 7}

type tester interface {
	Helper()
	Fatal(...any)
}

// run runs f on n ranks.
func run(t tester, n int, f func(world *mpi.Comm) error) {
	t.Helper()
	if err := mpi.Run(n, f); err != nil {
		t.Fatal(err)
	}
}

// sparse returns the nonzeros of a.
func sparse(a mat.Symmetric) *mm.Matrix {
	n := a.SymmetricDim()
	m := &mm.Matrix{Ptr: []int{0}}
	for i := range n {
		for j := range n {
			if v := a.At(i, j); v != 0 {
				m.Col, m.Val = append(m.Col, int32(j)), append(m.Val, v)
			}
		}
		m.Ptr = append(m.Ptr, len(m.Col))
	}
	return m
}

// distribute deals out m, which every rank has here, and prepares it.
func distribute(world *mpi.Comm, m *mm.Matrix) (*Matrix, error) {
	if world.Rank() != 0 {
		m = nil
	}
	part, rows, err := Distribute(world, m, false)
	if err != nil {
		return nil, err
	}
	return NewMatrix(world, part, rows)
}

// solve solves m·x = b on n ranks and returns the whole of x; how it went is rank 0's account.
func solve(t tester, n int, m *mm.Matrix, b []float64, o Options) (x []float64, result Result, err error) {
	t.Helper()
	x = make([]float64, m.N()) // each rank writes its own part
	run(t, n, func(world *mpi.Comm) error {
		a, failed := distribute(world, m)
		if failed != nil {
			return failed
		}
		r, e := Solve(context.Background(), a, b[a.first:a.end], x[a.first:a.end], o)
		if world.Rank() == 0 {
			result, err = r, e
		}
		return nil
	})
	return x, result, err
}

// manufacture returns a solution without a pattern and the right-hand side that belongs to it.
func manufacture(m *mm.Matrix) (x, b []float64) {
	x, b = make([]float64, m.N()), make([]float64, m.N())
	for i := range x {
		x[i] = 1 + math.Sin(float64(i*i))/2
	}
	for i := range b {
		for k := m.Ptr[i]; k < m.Ptr[i+1]; k++ {
			b[i] += m.Val[k] * x[m.Col[k]]
		}
	}
	return x, b
}

// distance returns ‖x − y‖ / ‖y‖.
func distance(x, y []float64) float64 {
	var d, n float64
	for i := range x {
		d = math.Hypot(d, x[i]-y[i])
		n = math.Hypot(n, y[i])
	}
	return d / n
}

// beam returns the stiffness matrix of an Euler–Bernoulli beam that is clamped on its left, with a deflection and a
// rotation at the right end of each element. Its condition grows with the fourth power of the number of elements;
// bending stiffnesses over four orders of magnitude make it worse.
func beam(elements int) *mat.SymDense {
	length := 1 / float64(elements)
	local := [4][4]float64{
		{12, 6 * length, -12, 6 * length},
		{6 * length, 4 * length * length, -6 * length, 2 * length * length},
		{-12, -6 * length, 12, -6 * length},
		{6 * length, 2 * length * length, -6 * length, 4 * length * length},
	}
	k := mat.NewSymDense(2*elements, nil)
	for e := range elements {
		stiffness := math.Pow(10, 2*math.Sin(float64(e))) / (length * length * length)
		for i := range 4 {
			for j := i; j < 4; j++ {
				if row, col := 2*e+i-2, 2*e+j-2; row >= 0 {
					k.SetSym(row, col, k.At(row, col)+stiffness*local[i][j])
				}
			}
		}
	}
	return k
}
