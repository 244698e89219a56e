package cg

import "fmt"

// MaxPoisson is the largest side of a grid: one more and the last point's index takes more than 31 bits.
const MaxPoisson = 1290

// Poisson returns one rank's rows of the Laplacian, times −h², on a grid of side³ inner points with zeros around it: 6
// on the diagonal and −1 for each of the up to six neighbours. Rows are split by entries or, with byRows, by number.
// No rank has more of the matrix than its own rows. An error names a side outside 1 to [MaxPoisson].
func Poisson(side, ranks, rank int, byRows bool) (*Partition, Rows, error) {
	if side < 1 || side > MaxPoisson {
		return nil, Rows{}, fmt.Errorf("Poisson grid of side %d, want 1 to %d", side, MaxPoisson)
	}
	g := grid{side: side}
	var weight func(int) int
	if !byRows {
		weight = g.entries
	}
	p := NewPartition(side*side*side, ranks, weight)
	first, end := p.Range(rank)
	r := Rows{Ptr: make([]int64, 1, end-first+1)}
	for i := first; i < end; i++ {
		r.Col, r.Val = g.appendRow(i, r.Col, r.Val)
		r.Ptr = append(r.Ptr, int64(len(r.Col)))
	}
	return p, r, nil
}

// A grid numbers its points from 0, x fastest and z slowest.
type grid struct{ side int }

// coordinates returns the x, y and z of a point, each from 0 to side − 1.
func (g grid) coordinates(point int) [3]int {
	return [3]int{point % g.side, point / g.side % g.side, point / (g.side * g.side)}
}

// entries returns the entries in a point's row: itself and its neighbours.
func (g grid) entries(point int) int {
	count := 1
	for _, c := range g.coordinates(point) {
		if c > 0 {
			count++
		}
		if c < g.side-1 {
			count++
		}
	}
	return count
}

// appendRow appends a point's row, columns ascending.
func (g grid) appendRow(point int, col []int32, val []float64) ([]int32, []float64) {
	at := g.coordinates(point)
	stride := [3]int{1, g.side, g.side * g.side}
	for d := 2; d >= 0; d-- {
		if at[d] > 0 {
			col, val = append(col, int32(point-stride[d])), append(val, -1)
		}
	}
	col, val = append(col, int32(point)), append(val, 6)
	for d := range 3 {
		if at[d] < g.side-1 {
			col, val = append(col, int32(point+stride[d])), append(val, -1)
		}
	}
	return col, val
}
