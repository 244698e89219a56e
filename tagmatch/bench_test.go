package tagmatch

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The depths are those of the point-to-point tables that Open MPI and MPICH are measured at.
var depths = []int{0, 16, 256, 4096, 65536}

var matchers = []struct {
	name string
	make func(Limits) Matcher[uint64, uint64]
}{
	{"engine", func(l Limits) Matcher[uint64, uint64] { return New[uint64, uint64](l) }},
	{"list", func(l Limits) Matcher[uint64, uint64] { return NewList[uint64, uint64](l) }},
}

// atDepths runs body for each matcher and depth. The list is spared the depths at which one call takes tens of microseconds.
func atDepths(b *testing.B, body func(b *testing.B, m Matcher[uint64, uint64], depth int)) {
	for _, m := range matchers {
		for _, depth := range depths {
			if m.name == "list" && depth > 4096 {
				continue
			}
			b.Run(fmt.Sprintf("%s/depth=%d", m.name, depth), func(b *testing.B) {
				b.ReportAllocs()
				body(b, m.make(Limits{}), depth)
			})
		}
	}
}

// other gives the i-th of many keys, none of which the measured calls use.
func other(i int) Key { return Key{Ctx: 1, Source: int32(i % 64), Tag: int32(i)} }

func postOthers(m Matcher[uint64, uint64], n int) {
	for i := range n {
		m.Post(other(i), 0)
	}
}

func queueOthers(m Matcher[uint64, uint64], n int) {
	for i := range n {
		m.Unexpected(other(i), 0)
	}
}

// One operation: a receive is posted behind depth receives that do not match, and its message comes.
func BenchmarkExpected(b *testing.B) {
	atDepths(b, func(b *testing.B, m Matcher[uint64, uint64], depth int) {
		postOthers(m, depth)
		k := Key{Ctx: 1, Source: 64, Tag: 7}
		for b.Loop() {
			m.Post(k, 1)
			m.Match(k)
		}
	})
}

// As BenchmarkExpected, without the interface.
func BenchmarkExpectedDirect(b *testing.B) {
	for _, depth := range depths {
		b.Run(fmt.Sprintf("engine/depth=%d", depth), func(b *testing.B) {
			b.ReportAllocs()
			e := New[uint64, uint64](Limits{})
			postOthers(e, depth)
			k := Key{Ctx: 1, Source: 64, Tag: 7}
			for b.Loop() {
				e.Post(k, 1)
				e.Match(k)
			}
		})
	}
}

// As BenchmarkExpected with a receive of each class of wildcard waiting, none of which matches.
func BenchmarkExpectedAmongWildcards(b *testing.B) {
	atDepths(b, func(b *testing.B, m Matcher[uint64, uint64], depth int) {
		for c := exact; c < classes; c++ {
			m.Post(Key{Ctx: 2}.as(c), 0)
		}
		postOthers(m, depth)
		k := Key{Ctx: 1, Source: 64, Tag: 7}
		for b.Loop() {
			m.Post(k, 1)
			m.Match(k)
		}
	})
}

// One operation: a receive from any source with any tag is posted, and a message comes.
func BenchmarkExpectedWildcard(b *testing.B) {
	atDepths(b, func(b *testing.B, m Matcher[uint64, uint64], depth int) {
		postOthers(m, depth)
		for b.Loop() {
			m.Post(Key{Source: AnySource, Tag: AnyTag}, 1)
			m.Match(Key{Source: 3, Tag: 4})
		}
	})
}

// One operation: of depth receives one is matched, chosen at random, and posted again.
func BenchmarkExpectedShuffled(b *testing.B) {
	atDepths(b, func(b *testing.B, m Matcher[uint64, uint64], depth int) {
		depth = max(depth, 1)
		postOthers(m, depth)
		rng := rand.New(rand.NewPCG(1, 2))
		for b.Loop() {
			k := other(int(rng.Uint32N(uint32(depth))))
			m.Match(k)
			m.Post(k, 1)
		}
	})
}

// One operation: a message comes behind depth others, unexpected, and its receive is posted.
func BenchmarkUnexpected(b *testing.B) {
	atDepths(b, func(b *testing.B, m Matcher[uint64, uint64], depth int) {
		queueOthers(m, depth)
		k := Key{Ctx: 1, Source: 64, Tag: 7}
		for b.Loop() {
			m.Match(k)
			m.Unexpected(k, 1)
			m.Post(k, 1)
		}
	})
}

// As BenchmarkUnexpected in a matcher where receives of every class of wildcard have been seen, taken by one from any source.
func BenchmarkUnexpectedWildcard(b *testing.B) {
	atDepths(b, func(b *testing.B, m Matcher[uint64, uint64], depth int) {
		queueOthers(m, depth)
		k := Key{Ctx: 2, Source: 64, Tag: 7}
		for c := exact; c < classes; c++ {
			m.Probe(k.as(c))
		}
		for b.Loop() {
			m.Match(k)
			m.Unexpected(k, 1)
			m.Post(k.as(anySrc), 1)
		}
	})
}

// One operation: a probe from any source that finds nothing among depth messages.
func BenchmarkProbeMiss(b *testing.B) {
	atDepths(b, func(b *testing.B, m Matcher[uint64, uint64], depth int) {
		queueOthers(m, depth)
		for b.Loop() {
			m.Probe(Key{Source: AnySource, Tag: 7}) // context 0: nothing is queued there
		}
	})
}

// One operation: a receive is posted behind depth others and cancelled.
func BenchmarkCancel(b *testing.B) {
	atDepths(b, func(b *testing.B, m Matcher[uint64, uint64], depth int) {
		postOthers(m, depth)
		for b.Loop() {
			h, _, _, _ := m.Post(Key{Tag: 7}, 1)
			m.Cancel(h)
		}
	})
}
