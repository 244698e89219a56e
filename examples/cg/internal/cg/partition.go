package cg

import "sort"

// maxChunks bounds the chunks of rows that scalar products are summed in. It is also the number of ranks that can have
// a part in a large matrix. Chunks must not depend on the number of ranks, or the order of sums would.
const maxChunks = 256

// A Partition deals the rows of a square matrix out to ranks: each has a run of whole chunks, possibly none.
type Partition struct {
	rows   int
	chunk  int   // rows of every chunk but the last, which may be shorter
	starts []int // first row of each rank, and then the number of rows
}

// NewPartition splits rows, at least 1, over ranks so that the weights add up to about as much on each. A rank's share
// differs from the mean by less than the weight of two chunks. A nil weight counts every row as 1.
func NewPartition(rows, ranks int, weight func(row int) int) *Partition {
	p := &Partition{rows: rows, chunk: (rows + maxChunks - 1) / maxChunks, starts: make([]int, ranks+1)}
	if weight == nil {
		weight = func(int) int { return 1 }
	}
	before := make([]int, p.chunks()+1) // weight of all rows before a chunk
	for i := range rows {
		before[i/p.chunk+1] += weight(i)
	}
	for c := range p.chunks() {
		before[c+1] += before[c]
	}
	total := before[p.chunks()]
	for r := range ranks {
		ideal := float64(total) * float64(r) / float64(ranks)
		c := sort.Search(p.chunks(), func(c int) bool { return float64(before[c]) >= ideal })
		if c > 0 && ideal-float64(before[c-1]) < float64(before[c])-ideal {
			c--
		}
		p.starts[r] = min(c*p.chunk, rows)
	}
	p.starts[ranks] = rows
	return p
}

// Rows returns the number of rows of the whole matrix.
func (p *Partition) Rows() int { return p.rows }

// Range returns the first row of a rank and the one after its last.
func (p *Partition) Range(rank int) (first, end int) { return p.starts[rank], p.starts[rank+1] }

// owner returns the rank that has a row.
func (p *Partition) owner(row int) int { return sort.SearchInts(p.starts, row+1) - 1 }

// chunks returns the number of chunks of the whole matrix.
func (p *Partition) chunks() int { return (p.rows + p.chunk - 1) / p.chunk }
