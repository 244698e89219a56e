package cg

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"outboard/mpi"
)

// TestMultiply multiplies random symmetric matrices on a random number of ranks and wants the bits of a serial product.
func TestMultiply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "rows")
		ranks := rapid.IntRange(1, 8).Draw(t, "ranks")
		dense := mat.NewSymDense(n, nil)
		for i := range n {
			dense.SetSym(i, i, 1)
		}
		for range rapid.IntRange(0, 3*n).Draw(t, "entries") {
			i, j := rapid.IntRange(0, n-1).Draw(t, "i"), rapid.IntRange(0, n-1).Draw(t, "j")
			dense.SetSym(i, j, rapid.Float64Range(0.1, 10).Draw(t, "value"))
		}
		m := sparse(dense)
		x, want := manufacture(m)
		got := make([]float64, n)
		halo := make([]int, ranks)
		run(t, ranks, func(world *mpi.Comm) error {
			a, err := distribute(world, m)
			if err != nil {
				return err
			}
			v := a.NewVector()
			copy(v.Own, x[a.first:a.end])
			halo[world.Rank()] = a.HaloSize()
			return a.Multiply(context.Background(), got[a.first:a.end], v)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		p := NewPartition(n, ranks, func(i int) int { return m.Ptr[i+1] - m.Ptr[i] })
		for rank := range ranks {
			first, end := p.Range(rank)
			needed := map[int32]bool{}
			for _, c := range m.Col[m.Ptr[first]:m.Ptr[end]] {
				if int(c) < first || int(c) >= end {
					needed[c] = true
				}
			}
			if halo[rank] != len(needed) {
				t.Fatalf("rank %d receives %d entries, want the %d it needs", rank, halo[rank], len(needed))
			}
		}
	})
}

// TestMatrixErrors gives the last of three ranks bad rows and wants an error on all.
func TestMatrixErrors(t *testing.T) {
	good := Rows{Ptr: []int64{0, 1, 3}, Col: []int32{4, 4, 5}, Val: []float64{2, 1, 2}}
	for _, test := range []struct {
		name     string
		damage   func(r *Rows)
		want     string
		indefine bool
	}{
		{"no row starts", func(r *Rows) { r.Ptr = nil }, "0 row starts, want 3", false},
		{"start not 0", func(r *Rows) { r.Ptr[0] = 1 }, "want 3 from 0", false},
		{"too few columns", func(r *Rows) { r.Col = r.Col[:2] }, "2 columns and 3 values, want 3", false},
		{"too many values", func(r *Rows) { r.Val = append(r.Val, 1) }, "3 columns and 4 values", false},
		{"starts descend", func(r *Rows) { r.Ptr[1] = 4 }, "row 4 ends at entry 4", false},
		{"negative start", func(r *Rows) { r.Ptr[1] = -1 }, "row 4 ends at entry -1", false},
		{"columns descend", func(r *Rows) { r.Col[1] = 5 }, "row 5 has column 5 after 5", false},
		{"negative column", func(r *Rows) { r.Col[0] = -1 }, "row 4 has column -1", false},
		{"column beyond", func(r *Rows) { r.Col[2] = 6 }, "row 5 has column 6 after 4, want ascending ones below 6", false},
		{"no diagonal", func(r *Rows) { r.Col[0] = 5 }, "entry (5, 5) is 0", true},
		{"negative diagonal", func(r *Rows) { r.Val[2] = -2 }, "entry (6, 6) is -2, want it greater than 0", true},
		{"NaN", func(r *Rows) { r.Val[0] = math.NaN() }, "entry (5, 5) is NaN", true},
		{"Inf", func(r *Rows) { r.Val[0] = math.Inf(1) }, "entry (5, 5) is +Inf", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, 3, func(world *mpi.Comm) error {
				part := NewPartition(6, 3, nil)
				first := int32(2 * world.Rank())
				rows := Rows{Ptr: []int64{0, 1, 2}, Col: []int32{first, first + 1}, Val: []float64{1, 1}}
				last := world.Rank() == 2
				if last {
					rows = Rows{Ptr: slices.Clone(good.Ptr), Col: slices.Clone(good.Col), Val: slices.Clone(good.Val)}
					test.damage(&rows)
				}
				_, err := NewMatrix(world, part, rows)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("rank %d: got %v, want it to contain %q", world.Rank(), err, test.want)
				}
				if last && errors.Is(err, ErrNotPositiveDefinite) != test.indefine {
					t.Errorf("got %v, want ErrNotPositiveDefinite: %t", err, test.indefine)
				}
				return nil
			})
		})
	}
}
