package cg

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(1, 3000).Draw(t, "rows")
		ranks := rapid.IntRange(1, 300).Draw(t, "ranks")
		weights := rapid.SliceOfN(rapid.IntRange(1, 50), rows, rows).Draw(t, "weights")
		p := NewPartition(rows, ranks, func(i int) int { return weights[i] })

		total, heaviest := 0, 0
		for c := 0; c < rows; c += p.chunk {
			sum := sumOf(weights[c:min(c+p.chunk, rows)])
			total += sum
			heaviest = max(heaviest, sum)
		}
		at := 0
		for rank := range ranks {
			first, end := p.Range(rank)
			if first != at || end < first {
				t.Fatalf("rank %d has rows [%d, %d), want them to follow row %d", rank, first, end, at)
			}
			if first%p.chunk != 0 && first != rows {
				t.Fatalf("rank %d begins at row %d, want a multiple of %d", rank, first, p.chunk)
			}
			for i := first; i < end; i++ {
				if p.owner(i) != rank {
					t.Fatalf("row %d belongs to rank %d, want %d", i, p.owner(i), rank)
				}
			}
			if load, mean := sumOf(weights[first:end]), float64(total)/float64(ranks); float64(load) > mean+2*float64(heaviest) {
				t.Fatalf("rank %d has %d, want less than %g plus two chunks of %d", rank, load, mean, heaviest)
			}
			at = end
		}
		if at != rows || p.chunks() > maxChunks {
			t.Fatalf("%d of %d rows dealt out in %d chunks, want all in at most %d", at, rows, p.chunks(), maxChunks)
		}
	})
}

func sumOf(s []int) (sum int) {
	for _, v := range s {
		sum += v
	}
	return sum
}

func TestPartitionExamples(t *testing.T) {
	for _, test := range []struct {
		name        string
		rows, ranks int
		weight      func(int) int
		want        []int
	}{
		{"even", 8, 4, nil, []int{0, 2, 4, 6, 8}},
		{"uneven", 7, 3, nil, []int{0, 2, 5, 7}},
		{"more ranks than rows", 2, 4, nil, []int{0, 1, 1, 2, 2}},
		{"one heavy row", 4, 2, func(i int) int { return []int{9, 1, 1, 1}[i] }, []int{0, 1, 4}},
		{"whole chunks", 1000, 2, nil, []int{0, 500, 1000}},
		{"whole chunks of 4", 1000, 3, nil, []int{0, 332, 668, 1000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := NewPartition(test.rows, test.ranks, test.weight)
			for i, want := range test.want {
				if p.starts[i] != want {
					t.Fatalf("got the starts %v, want %v", p.starts, test.want)
				}
			}
		})
	}
}
