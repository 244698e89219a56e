package collectives

import (
	"slices"
	"testing"

	"outboard/nicrt"
	"pgregory.net/rapid"
)

// Random programs on few bytes: operations that share memory of which one is
// written are ordered, each dependence has such a reason, and none is implied
// by the others. The model looks at all pairs.
func TestDependences(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const size = 12
		p := newProgram(Spec{Kind: Allreduce, N: 3, Count: size, Elem: 1}, "random")
		p.s.Scratch = size
		span := func(spaces ...nicrt.Space) nicrt.Span {
			off := rapid.IntRange(0, size).Draw(rt, "off")
			return nicrt.Span{Space: rapid.SampledFrom(spaces).Draw(rt, "space"), Off: off, Len: rapid.IntRange(0, size-off).Draw(rt, "len")}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "ops") {
			peer := rapid.IntRange(1, 2).Draw(rt, "peer")
			switch rapid.IntRange(0, 3).Draw(rt, "kind") {
			case 0:
				p.send(peer, span(nicrt.Input, nicrt.Output, nicrt.Scratch))
			case 1:
				p.recv(peer, span(nicrt.Output, nicrt.Scratch))
			case 2:
				dst := span(nicrt.Output, nicrt.Scratch)
				src := dst
				if rapid.Bool().Draw(rt, "elsewhere") {
					src.Space = nicrt.Input
				}
				p.recvReduce(peer, dst, src, false)
			case 3:
				dst := span(nicrt.Output)
				src := dst
				src.Space = nicrt.Scratch
				p.copy(dst, src)
			}
		}
		if len(p.s.Ops) == 0 {
			return
		}
		if err := p.s.Validate(); err != nil {
			rt.Fatal(err)
		}
		for i := range p.s.Ops {
			for a := range i {
				listed := slices.Contains(p.s.Ops[i].After, a)
				if share := conflict(&p.s.Ops[a], &p.s.Ops[i]); share && !listed && !p.follows(i, a) {
					rt.Fatalf("op %d does not wait for op %d\n%v", i, a, p.s)
				} else if listed && !share {
					rt.Fatalf("op %d waits for op %d for no reason\n%v", i, a, p.s)
				}
				for _, other := range p.s.Ops[i].After {
					if listed && other != a && p.follows(other, a) {
						rt.Fatalf("op %d waits for op %d, which op %d implies\n%v", i, a, other, p.s)
					}
				}
			}
		}
	})
}

// conflict reports whether one operation writes what the other uses.
func conflict(a, b *nicrt.SchedOp) bool {
	share := func(x, y nicrt.Span) bool {
		return x.Len > 0 && y.Len > 0 && x.Space == y.Space && x.Off < y.Off+y.Len && y.Off < x.Off+x.Len
	}
	return share(a.Dst, b.Dst) || share(a.Dst, b.Src) || share(a.Src, b.Dst)
}

// Slots count the messages each way with each peer.
func TestSlots(t *testing.T) {
	p := newProgram(Spec{Kind: Allreduce, N: 3, Count: 8, Elem: 1, Commutative: true}, "slots")
	p.send(1, in(0, 4))
	p.send(2, in(0, 4))
	p.send(1, in(4, 4))
	p.recv(1, out(0, 4))
	p.recvReduce(1, out(4, 4), in(4, 4), false)
	p.send(1, in(0, 0)) // without bytes there is no message
	var got []int
	for i := range p.s.Ops {
		got = append(got, p.s.Ops[i].Slot)
	}
	if want := []int{0, 0, 1, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("slots %v, want %v", got, want)
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, bb := range []struct {
		name string
		spec Spec
	}{
		{"allreduce/doubling/2", Spec{Kind: Allreduce, N: 2, Count: 1, Algorithm: "doubling"}},
		{"allreduce/halving/64", Spec{Kind: Allreduce, N: 64, Count: 1 << 20, Algorithm: "halving"}},
		{"allreduce/ring/1024", Spec{Kind: Allreduce, N: 1024, Count: 1 << 20, Algorithm: "ring"}},
		{"bcast/scatter-ring/1023", Spec{Kind: Bcast, N: 1023, Count: 1 << 20, Algorithm: "scatter-ring"}},
		{"alltoall/pairwise/1024", Spec{Kind: Alltoall, N: 1024, Count: 1 << 10, Algorithm: "pairwise"}},
		{"alltoall/bruck/1024", Spec{Kind: Alltoall, N: 1024, Count: 1, Algorithm: "bruck"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			bb.spec.Self, bb.spec.Elem, bb.spec.Commutative = bb.spec.N/2, 8, true
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Plan(bb.spec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
