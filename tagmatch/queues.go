package tagmatch

import (
	"math/bits"
	"math/rand/v2"
)

// queues is a set of first-in first-out queues of pool indexes, one for each key that has any: an open-addressing hash
// table with linear probing whose slots are the queues' ends. A queue that runs empty leaves the table at once and the
// slots behind it move up, so there are no tombstones and the table never exceeds what its fullest moment needed,
// however many keys come and go.
//
// The hash is seeded for each table: keys come off the wire, and a sender must not be able to choose colliding ones.
// No answer depends on the seed.
type queues struct {
	slots []slot // a power of two, at most half of them used
	mask  uint32
	used  int
	seed  [2]uint64
	links []link // by pool index
}

// slot is one queue; head is 0 in an unused slot.
type slot struct {
	key        Key
	head, tail uint32
}

type link struct{ prev, next uint32 }

const minSlots = 32

func newQueues() queues {
	return queues{
		slots: make([]slot, minSlots),
		mask:  minSlots - 1,
		seed:  [2]uint64{rand.Uint64(), rand.Uint64()},
	}
}

// home gives the slot where the search for k starts. It multiplies twice, as wyhash does for two words: after one product
// some seeds still send ranks or tags that are a fixed distance apart to slots a fixed distance apart, which pile up.
func (q *queues) home(k Key) uint32 {
	rank := uint64(uint32(k.Source))<<32 | uint64(uint32(k.Tag))
	hi, lo := bits.Mul64(rank^q.seed[0], uint64(k.Ctx)^q.seed[1])
	hi, lo = bits.Mul64(hi^q.seed[0], lo^q.seed[1])
	return uint32(hi^lo) & q.mask
}

// find gives the slot that holds k's queue or, if it has none, the unused slot where it would go.
func (q *queues) find(k Key) uint32 {
	i := q.home(k)
	for q.slots[i].head != 0 && q.slots[i].key != k {
		i = (i + 1) & q.mask
	}
	return i
}

// push puts n at the end of k's queue.
func (q *queues) push(k Key, n uint32) {
	if int(n) >= len(q.links) {
		q.links = resized(q.links, max(2*len(q.links), int(n)+1, minNodes))
	}
	if 2*q.used >= len(q.slots) {
		q.grow()
	}
	s := &q.slots[q.find(k)]
	if s.head == 0 {
		*s = slot{key: k, head: n, tail: n}
		q.links[n] = link{}
		q.used++
		return
	}
	q.links[s.tail].next = n
	q.links[n] = link{prev: s.tail}
	s.tail = n
}

// remove takes n out of the queue in slot i, wherever in it n stands.
func (q *queues) remove(i, n uint32) {
	s, l := &q.slots[i], q.links[n]
	if l.prev|l.next == 0 {
		q.vacate(i)
		return
	}
	if l.prev != 0 {
		q.links[l.prev].next = l.next
	} else {
		s.head = l.next
	}
	if l.next != 0 {
		q.links[l.next].prev = l.prev
	} else {
		s.tail = l.prev
	}
}

// vacate empties slot i and moves up each later slot of the run whose search would now stop short of it.
// (Knuth, The Art of Computer Programming, vol. 3, section 6.4, algorithm R.)
func (q *queues) vacate(i uint32) {
	q.used--
	for j := (i + 1) & q.mask; q.slots[j].head != 0; j = (j + 1) & q.mask {
		home := q.home(q.slots[j].key)
		if (j-home)&q.mask >= (j-i)&q.mask {
			q.slots[i] = q.slots[j]
			i = j
		}
	}
	q.slots[i].head = 0
}

// grow doubles the table.
func (q *queues) grow() {
	old := q.slots
	q.slots = make([]slot, 2*len(old))
	q.mask = uint32(len(q.slots) - 1)
	for _, s := range old {
		if s.head != 0 {
			q.slots[q.find(s.key)] = s
		}
	}
}
