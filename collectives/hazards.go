package collectives

import (
	"slices"

	"outboard/nicrt"
)

// hazards remembers which operations touched which bytes of one space last, and
// so knows what a further operation must wait for: a read for the write before
// it, a write for the write before it and for the reads since.
type hazards struct {
	regions []region // disjoint, ascending; other bytes were never touched
}

// region is a range of bytes that have the same history.
type region struct {
	off, end int
	writer   int   // the operation that wrote it last, or -1
	readers  []int // those that have read it since
}

// touch appends to deps what operation op must wait for to read or write sp,
// and records that it does.
func (h *hazards) touch(deps []int, op int, sp nicrt.Span, write bool) []int {
	if sp.Len == 0 {
		return deps
	}
	off, end := sp.Off, sp.Off+sp.Len
	first, last := h.isolate(off, end)
	var now []region
	at := off
	for _, r := range h.regions[first:last] {
		if r.writer >= 0 {
			deps = append(deps, r.writer)
		}
		if write {
			deps = append(deps, r.readers...)
			continue
		}
		if at < r.off {
			now = append(now, region{at, r.off, -1, []int{op}})
		}
		r.readers = append(slices.Clip(r.readers), op)
		now = append(now, r)
		at = r.end
	}
	if write {
		now = []region{{off, end, op, nil}}
	} else if at < end {
		now = append(now, region{at, end, -1, []int{op}})
	}
	h.regions = slices.Replace(h.regions, first, last, now...)
	return deps
}

// isolate splits regions at off and end and gives the indexes of those between.
func (h *hazards) isolate(off, end int) (first, last int) {
	return h.split(off), h.split(end)
}

// split makes pos a border and gives the index of the first region at or after it.
func (h *hazards) split(pos int) int {
	i, _ := slices.BinarySearchFunc(h.regions, pos, func(r region, pos int) int { return r.end - pos })
	if i < len(h.regions) && h.regions[i].end == pos {
		return i + 1
	}
	if i == len(h.regions) || h.regions[i].off >= pos {
		return i
	}
	left, right := h.regions[i], h.regions[i]
	left.end, right.off = pos, pos
	right.readers = slices.Clone(right.readers)
	h.regions = slices.Replace(h.regions, i, i+1, left, right)
	return i + 1
}
