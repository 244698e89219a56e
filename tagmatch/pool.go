package tagmatch

import "slices"

// pool keeps what is queued, of one kind, at indexes that stay fixed while it is queued. Index 0 is never used, so that
// it can mean "none" in every link.
type pool[T any] struct {
	nodes  []node
	values []T    // by node; apart, so that the nodes hold no pointers for the garbage collector to follow
	free   uint32 // first of the unused nodes, chained by next
	live   int
	limit  int
}

type node struct {
	label uint64 // order of queueing; 0 while unused
	key   Key
	next  uint32 // in the chain of unused nodes
}

const minNodes = 16

// full says that add must not be called.
func (p *pool[T]) full() bool { return p.live >= p.limit }

func (p *pool[T]) add(label uint64, k Key, v T) uint32 {
	if p.free == 0 {
		p.grow()
	}
	i := p.free
	n := &p.nodes[i]
	p.free = n.next
	n.label, n.key = label, k
	p.values[i] = v
	p.live++
	return i
}

// remove frees node i and returns its value, keeping no reference to it.
func (p *pool[T]) remove(i uint32) T {
	n := &p.nodes[i]
	n.label, n.next = 0, p.free
	p.free = i
	p.live--
	var none T
	v := p.values[i]
	p.values[i] = none
	return v
}

// find gives the node that h names, or 0.
func (p *pool[T]) find(h Handle) uint32 {
	if h.label == 0 || int(h.index) >= len(p.nodes) || p.nodes[h.index].label != h.label {
		return 0
	}
	return h.index
}

func (p *pool[T]) handle(i uint32) Handle { return Handle{label: p.nodes[i].label, index: i} }

func (p *pool[T]) entry(i uint32) Entry[T] {
	return Entry[T]{Key: p.nodes[i].key, Handle: p.handle(i), Value: p.values[i]}
}

// inOrder gives the handles of the queued nodes whose key is accepted by keep, in order of queueing.
func (p *pool[T]) inOrder(keep func(Key) bool) []Handle {
	var hs []Handle
	for i := range p.nodes {
		if n := &p.nodes[i]; n.label != 0 && keep(n.key) {
			hs = append(hs, p.handle(uint32(i)))
		}
	}
	slices.SortFunc(hs, Handle.compare)
	return hs
}

// each yields the queued entries in order, skipping those that leave during the loop.
func (p *pool[T]) each(yield func(Entry[T]) bool) {
	for _, h := range p.inOrder(func(Key) bool { return true }) {
		if i := p.find(h); i != 0 && !yield(p.entry(i)) {
			return
		}
	}
}

// grow doubles the nodes, to no more than the limit needs, and chains the new ones in order of index.
func (p *pool[T]) grow() {
	old := max(len(p.nodes), 1)
	size := min(max(2*old, minNodes), p.limit+1)
	p.nodes = resized(p.nodes, size)
	p.values = resized(p.values, size)
	for i := size - 1; i >= old; i-- {
		p.nodes[i].next = p.free
		p.free = uint32(i)
	}
}

// resized copies s into a slice of exactly n elements, n >= len(s).
func resized[T any](s []T, n int) []T {
	t := make([]T, n)
	copy(t, s)
	return t
}
