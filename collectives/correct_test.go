package collectives

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"outboard/nicrt"
	"pgregory.net/rapid"
)

// An arithmetic is an operator on elements of words 64-bit words.
type arithmetic struct {
	words       int
	commutative bool
	fill        func(e []uint64, member, element int) // a member's contribution
	combine     func(dst, a, b []uint64)              // dst is neither a nor b
}

// sums adds int64.
var sums = arithmetic{1, true,
	func(e []uint64, member, element int) { e[0] = uint64(member*1000003 + element*17 + 1) },
	func(dst, a, b []uint64) { dst[0] = a[0] + b[0] },
}

// products multiplies 2x2 matrices modulo 2^64, which does not commute.
var products = arithmetic{4, false,
	func(e []uint64, member, element int) {
		for i := range e {
			e[i] = uint64((member+2)*(member+3+i)*7919 + element*31 + i)
		}
	},
	func(dst, a, b []uint64) {
		dst[0], dst[1] = a[0]*b[0]+a[1]*b[2], a[0]*b[1]+a[1]*b[3]
		dst[2], dst[3] = a[2]*b[0]+a[3]*b[2], a[2]*b[1]+a[3]*b[3]
	},
}

// kernel makes the byte form of an operator; dst may be a or b.
func (a arithmetic) kernel(dst, x, y []byte) {
	d, u, v := make([]uint64, a.words), make([]uint64, a.words), make([]uint64, a.words)
	for i := 0; i < len(dst); i += a.words * 8 {
		for w := range a.words {
			u[w] = binary.LittleEndian.Uint64(x[i+w*8:])
			v[w] = binary.LittleEndian.Uint64(y[i+w*8:])
		}
		a.combine(d, u, v)
		for w := range a.words {
			binary.LittleEndian.PutUint64(dst[i+w*8:], d[w])
		}
	}
}

// buffer makes a member's contribution of count elements from a position on.
func (a arithmetic) buffer(member, from, count int) []byte {
	var b []byte
	e := make([]uint64, a.words)
	for i := range count {
		a.fill(e, member, from+i)
		for _, w := range e {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	return b
}

// contribution gives what a member puts in, as it would be out of place.
func (a arithmetic) contribution(s Spec, member int) []byte {
	switch {
	case s.Kind == Scatter && member == s.Root, s.Kind == Alltoall:
		return a.buffer(member, 0, s.N*s.Count)
	case s.Kind == Scatter, s.Kind == Barrier:
		return nil
	}
	return a.buffer(member, 0, s.Count)
}

// result computes what a member gets, straight from the definition; nil if that
// is nothing.
func (a arithmetic) result(s Spec, member int) []byte {
	b := s.Count * s.Elem
	switch s.Kind {
	case Bcast:
		return a.contribution(s, s.Root)
	case Scatter:
		return a.contribution(s, s.Root)[member*b:][:b]
	case Gather, Reduce:
		if member != s.Root {
			return nil
		}
	case Barrier:
		return nil
	}
	var all []byte
	for m := range s.N {
		c := a.contribution(s, m)
		if s.Kind == Alltoall {
			c = c[member*b:][:b]
		}
		if s.Kind.reducing() && m > 0 {
			a.kernel(all, all, c)
		} else {
			all = append(all, c...)
		}
	}
	return all
}

// layout gives a member's input and output at the start, the latter full of
// rubbish where nothing is in place.
func (a arithmetic) layout(s Spec, member int, schedule *nicrt.Schedule) (input, output []byte) {
	b := s.Count * s.Elem
	output = bytes.Repeat([]byte{0xEE}, schedule.Output)
	put := a.contribution(s, member)
	switch {
	case s.Kind == Bcast:
		if member == s.Root {
			copy(output, put)
		}
		return nil, output
	case schedule.Input > 0 || len(put) == 0:
		return put, output
	case s.Kind == Gather || s.Kind == Allgather:
		copy(output[member*b:], put)
	default:
		copy(output, put)
	}
	return nil, output
}

// check plans, runs and compares.
func (a arithmetic) check(t rapid.TB, s Spec, inPlace func(member int) bool, rng *rand.Rand) {
	t.Helper()
	schedules := planAll(t, s, func(one *Spec) { one.InPlace = inPlace(one.Self) })
	inputs, outputs := make([][]byte, s.N), make([][]byte, s.N)
	for m := range s.N {
		inputs[m], outputs[m] = a.layout(s, m, schedules[m])
	}
	kept := make([][]byte, s.N)
	for m := range kept {
		kept[m] = slices.Clone(inputs[m])
	}
	if err := execute(schedules, inputs, outputs, a.kernel, rng); err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	for m := range s.N {
		want := a.result(s, m)
		got := outputs[m]
		if s.Kind == Scatter && inPlace(m) && m == s.Root {
			want = a.contribution(s, m)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%+v: member %d has\n%x, want\n%x\n%v", s, m, got, want, schedules[m])
		}
		if !bytes.Equal(inputs[m], kept[m]) {
			t.Fatalf("%+v: member %d's input has changed", s, m)
		}
	}
}

var nobody = func(int) bool { return false }
var everybody = func(int) bool { return true }

// each calls f with every algorithm of every kind, for the roots of a group.
func each(n int, roots []int, f func(Spec)) {
	for k := Barrier; k < kinds; k++ {
		for _, name := range Algorithms(k) {
			for _, commutative := range []bool{true, false} {
				s := Spec{Kind: k, N: n, Elem: 1, Commutative: commutative, Algorithm: name}
				if find(k, name).suits(&s) != nil || !k.reducing() && !commutative {
					continue
				}
				if !k.rooted() {
					f(s)
					continue
				}
				for _, s.Root = range roots {
					f(s)
				}
			}
		}
	}
}

func members(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestAllAlgorithms(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 17; n++ {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			roots := []int{0, 1 % n, n / 2, n - 1}
			if n <= 7 {
				roots = members(n)
			}
			slices.Sort(roots)
			each(n, slices.Compact(roots), func(s Spec) {
				counts := []int{0, 1, 2, 3, 7, n - 1, n, n + 1, 2*n + 3}
				slices.Sort(counts)
				for _, s.Count = range slices.Compact(counts) {
					a := sums
					if !s.Commutative {
						a = products
					}
					s.Elem = a.words * 8
					a.check(t, s, nobody, rng)
					if s.Kind.hasInPlace() {
						a.check(t, s, everybody, rng)
					}
				}
			})
		})
	}
}

func TestLargeGroups(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{31, 32, 33, 64} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			each(n, []int{0, 13, n - 1}, func(s Spec) {
				a := sums
				if !s.Commutative {
					a = products
				}
				s.Elem, s.Count = a.words*8, 3
				a.check(t, s, nobody, rng)
			})
		})
	}
}

// Any mixture of what the other tests enumerate, with some members in place and
// some not, and the algorithm left to choose.
func TestRandomSpecs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := Spec{Kind: Kind(rapid.IntRange(1, int(kinds)-1).Draw(rt, "kind")), N: rapid.IntRange(1, 20).Draw(rt, "n")}
		s.Root = rapid.IntRange(0, s.N-1).Draw(rt, "root")
		s.Count = rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(41, 3000)).Draw(rt, "count")
		s.Commutative = rapid.Bool().Draw(rt, "commutative")
		s.Algorithm = rapid.SampledFrom(append(Algorithms(s.Kind), "")).Draw(rt, "algorithm")
		if s.Algorithm != "" && find(s.Kind, s.Algorithm).suits(&s) != nil {
			s.Algorithm = ""
		}
		a := sums
		if !s.Commutative {
			a = products
		}
		s.Elem = a.words * 8
		mask := uint32(0)
		if s.Kind.hasInPlace() {
			mask = rapid.Uint32().Draw(rt, "inPlace")
		}
		seed := rapid.Uint64().Draw(rt, "order")
		a.check(rt, s, func(m int) bool { return mask>>m&1 == 1 }, rand.New(rand.NewPCG(seed, 0)))
	})
}

// Every member of an Allreduce gets the same bits, though floating-point
// addition depends on the order and NaNs on that of operands.
func TestAllreduceSameBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	// Of two numbers the sum, of two NaNs the first one, as processors do.
	add := func(dst, a, b []uint64) {
		x, y := math.Float64frombits(a[0]), math.Float64frombits(b[0])
		switch {
		case x != x:
			dst[0] = a[0]
		case y != y:
			dst[0] = b[0]
		default:
			dst[0] = math.Float64bits(x + y)
		}
	}
	floats := arithmetic{1, true, func(e []uint64, member, element int) {
		if e[0] = math.Float64bits((rng.Float64() - 0.5) * math.Pow(10, float64(rng.IntN(30)))); element%5 == 0 {
			e[0] = 0x7FF8000000000000 | uint64(member)
		}
	}, add}
	for n := 1; n <= 17; n++ {
		for _, name := range Algorithms(Allreduce) {
			s := Spec{Kind: Allreduce, N: n, Count: 2*n + 3, Elem: 8, Commutative: true, Algorithm: name}
			schedules := planAll(t, s, nil)
			inputs, outputs := make([][]byte, n), make([][]byte, n)
			for m := range n {
				inputs[m], outputs[m] = floats.buffer(m, 0, s.Count), make([]byte, s.Count*8)
			}
			if err := execute(schedules, inputs, outputs, floats.kernel, rng); err != nil {
				t.Fatal(err)
			}
			for m := range n {
				if !bytes.Equal(outputs[m], outputs[0]) {
					t.Errorf("%s among %d: members 0 and %d have\n%x\n%x", name, n, m, outputs[0], outputs[m])
				}
			}
		}
	}
}
