package cg

import (
	"fmt"
	"slices"
	"testing"
)

func TestPoisson(t *testing.T) {
	const side = 3
	at := func(i int) [3]int { return [3]int{i % side, i / side % side, i / side / side} }
	near := func(i, j int) bool {
		distance := 0
		for d := range 3 {
			distance += max(at(i)[d]-at(j)[d], at(j)[d]-at(i)[d])
		}
		return distance == 1
	}
	_, rows, err := Poisson(side, 1, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	const n = side * side * side
	if err := rows.check(0, n, n); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		got := map[int]float64{}
		for k := rows.Ptr[i]; k < rows.Ptr[i+1]; k++ {
			got[int(rows.Col[k])] = rows.Val[k]
		}
		for j := range n {
			want := 0.0
			if i == j {
				want = 6
			} else if near(i, j) {
				want = -1
			}
			if got[j] != want {
				t.Errorf("entry (%d, %d) is %g, want %g", i, j, got[j], want)
			}
		}
	}
}

func TestPoissonByRanks(t *testing.T) {
	const side = 5
	_, whole, _ := Poisson(side, 1, 0, false)
	for _, ranks := range []int{2, 3, 7, 200} {
		for _, byRows := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d ranks, by rows %t", ranks, byRows), func(t *testing.T) {
				var joined Rows
				for rank := range ranks {
					p, r, err := Poisson(side, ranks, rank, byRows)
					if err != nil {
						t.Fatal(err)
					}
					first, end := p.Range(rank)
					if err := r.check(first, end, side*side*side); err != nil {
						t.Fatalf("rank %d: %v", rank, err)
					}
					joined.Col, joined.Val = append(joined.Col, r.Col...), append(joined.Val, r.Val...)
				}
				if !slices.Equal(joined.Col, whole.Col) || !slices.Equal(joined.Val, whole.Val) {
					t.Error("the ranks' rows together differ from those of one rank")
				}
			})
		}
	}
}

func TestPoissonErrors(t *testing.T) {
	for _, side := range []int{-1, 0, MaxPoisson + 1} {
		if _, _, err := Poisson(side, 1, 0, false); err == nil {
			t.Errorf("side %d: got no error", side)
		}
	}
}
