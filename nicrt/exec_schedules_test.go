package nicrt

import "encoding/binary"

// The kernels of the tests work on elements of four bytes: an affine map
// x -> a*x+b modulo 2^16, little endian. Composition of maps is associative and
// does not commute, so that a wrong order shows.

const mapLen = 4

// composeKernel does dst = dst after src.
func composeKernel(dst, src []byte) {
	for i := 0; i < len(dst); i += mapLen {
		a1, b1 := binary.LittleEndian.Uint16(dst[i:]), binary.LittleEndian.Uint16(dst[i+2:])
		a2, b2 := binary.LittleEndian.Uint16(src[i:]), binary.LittleEndian.Uint16(src[i+2:])
		binary.LittleEndian.PutUint16(dst[i:], a1*a2)
		binary.LittleEndian.PutUint16(dst[i+2:], a1*b2+b1)
	}
}

// addKernel adds 16-bit words, which commutes.
func addKernel(dst, src []byte) {
	for i := 0; i < len(dst); i += 2 {
		binary.LittleEndian.PutUint16(dst[i:], binary.LittleEndian.Uint16(dst[i:])+binary.LittleEndian.Uint16(src[i:]))
	}
}

// collective makes schedules for the tests and knows their results.
type collective struct {
	name   string
	kernel func(dst, src []byte)
	// schedule gives member self's part for blocks of the given size in bytes.
	schedule func(n, self, size int) *Schedule
	// want gives member self's output for all members' inputs; nil bytes mean "any".
	want func(inputs [][]byte, self int) []byte
}

func fold(kernel func(dst, src []byte), inputs [][]byte) []byte {
	out := append([]byte(nil), inputs[0]...)
	for _, in := range inputs[1:] {
		kernel(out, in)
	}
	return out
}

var collectives = []collective{
	{"barrier", nil, barrier, func([][]byte, int) []byte { return nil }},
	{"bcast", nil, pipelinedBcast, func(in [][]byte, _ int) []byte { return in[0] }},
	{"alltoall", nil, alltoall, func(in [][]byte, self int) []byte {
		var out []byte
		for _, b := range in {
			size := len(b) / len(in)
			out = append(out, b[self*size:][:size]...)
		}
		return out
	}},
	{"chain", composeKernel, chainAllreduce, func(in [][]byte, _ int) []byte { return fold(composeKernel, in) }},
	{"ring", addKernel, ringAllreduce, func(in [][]byte, _ int) []byte { return fold(addKernel, in) }},
	{"pairs", composeKernel, allPairs, func(in [][]byte, self int) []byte {
		var out []byte
		for p := range in {
			switch two := [][]byte{in[self], in[p]}; {
			case p == self:
				out = append(out, in[p]...)
			case p%2 == 1:
				out = append(out, fold(composeKernel, [][]byte{in[p], in[self]})...)
			default:
				out = append(out, fold(composeKernel, two)...)
			}
		}
		return out
	}},
	{"gather-reduce", composeKernel, gatherReduce, func(in [][]byte, _ int) []byte { return fold(composeKernel, in) }},
}

// barrier is the dissemination barrier: rounds of empty messages.
func barrier(n, self, _ int) *Schedule {
	s := &Schedule{Name: "barrier", Peers: n, Self: self}
	slots := map[[2]int]int{}
	slot := func(way, peer int) int {
		k := slots[[2]int{way, peer}]
		slots[[2]int{way, peer}]++
		return k
	}
	var after []int
	for d := 1; d < n; d *= 2 {
		to, from := (self+d)%n, (self-d+n)%n
		s.Ops = append(s.Ops,
			SchedOp{Kind: Send, Peer: to, Slot: slot(0, to), After: after},
			SchedOp{Kind: Recv, Peer: from, Slot: slot(1, from), After: after})
		after = []int{len(s.Ops) - 2, len(s.Ops) - 1}
	}
	return s
}

// pipelinedBcast sends member 0's input along the chain in up to four segments.
func pipelinedBcast(n, self, size int) *Schedule {
	s := &Schedule{Name: "bcast", Peers: n, Self: self, Input: size, Output: size}
	seg := max((size/4)&^3, 4)
	for off, k := 0, 0; off < size; off, k = off+seg, k+1 {
		src := Span{Output, off, min(seg, size-off)}
		op := SchedOp{Kind: Recv, Peer: self - 1, Slot: k, Dst: src}
		if self == 0 {
			op = SchedOp{Kind: Copy, Src: Span{Input, off, src.Len}, Dst: src}
		}
		s.Ops = append(s.Ops, op)
		if self < n-1 {
			s.Ops = append(s.Ops, SchedOp{Kind: Send, Peer: self + 1, Slot: k, Src: src, After: []int{len(s.Ops) - 1}})
		}
	}
	return s
}

// alltoall exchanges blocks directly.
func alltoall(n, self, size int) *Schedule {
	size &^= 3
	s := &Schedule{Name: "alltoall", Peers: n, Self: self, Input: n * size, Output: n * size}
	s.Ops = append(s.Ops, SchedOp{Kind: Copy, Src: Span{Input, self * size, size}, Dst: Span{Output, self * size, size}})
	for d := 1; d < n; d++ {
		to, from := (self+d)%n, (self-d+n)%n
		s.Ops = append(s.Ops,
			SchedOp{Kind: Send, Peer: to, Src: Span{Input, to * size, size}},
			SchedOp{Kind: Recv, Peer: from, Dst: Span{Output, from * size, size}})
	}
	return s
}

// chainAllreduce combines along the chain, where the received operand is the
// left one, and sends the result back along it.
func chainAllreduce(n, self, size int) *Schedule {
	s := &Schedule{Name: "allreduce/chain", Peers: n, Self: self, Input: size, Output: size, Elem: mapLen}
	in, out := Span{Input, 0, size}, Span{Output, 0, size}
	add := func(o SchedOp) {
		if len(s.Ops) > 0 {
			o.After = []int{len(s.Ops) - 1}
		}
		s.Ops = append(s.Ops, o)
	}
	if self == 0 {
		add(SchedOp{Kind: Copy, Src: in, Dst: out})
	} else if self%2 == 0 { // both forms of a reversed receive
		add(SchedOp{Kind: Copy, Src: in, Dst: out})
		add(SchedOp{Kind: RecvReduce, Peer: self - 1, Dst: out, Reverse: true})
	} else {
		add(SchedOp{Kind: RecvReduce, Peer: self - 1, Src: in, Dst: out, Reverse: true})
	}
	if self < n-1 {
		add(SchedOp{Kind: Send, Peer: self + 1, Src: out})
		add(SchedOp{Kind: Recv, Peer: self + 1, Dst: out})
	}
	if self > 0 {
		add(SchedOp{Kind: Send, Peer: self - 1, Src: out})
	}
	return s
}

// ringAllreduce is the ring: n-1 steps that reduce, n-1 that gather, on blocks
// that differ in length.
func ringAllreduce(n, self, size int) *Schedule {
	s := &Schedule{Name: "allreduce/ring", Peers: n, Self: self, Input: size, Output: size, Elem: 2}
	words := size / 2
	block := func(b int) Span {
		b = ((b % n) + n) % n
		lo, hi := words*b/n, words*(b+1)/n
		return Span{Output, 2 * lo, 2 * (hi - lo)}
	}
	s.Ops = append(s.Ops, SchedOp{Kind: Copy, Src: Span{Input, 0, size}, Dst: Span{Output, 0, size}})
	if n == 1 {
		return s
	}
	right, left := (self+1)%n, (self-1+n)%n
	for step := range 2 * (n - 1) {
		recv := SchedOp{Kind: RecvReduce, Peer: left, Slot: step, Dst: block(self - step - 1)}
		if step >= n-1 {
			recv.Kind = Recv
		}
		last := len(s.Ops) - 1
		recv.After = []int{last}
		send := SchedOp{Kind: Send, Peer: right, Slot: step, Src: block(self - step), After: []int{last}}
		if last > 0 {
			recv.After = []int{last - 1, last}
			send.After = []int{last - 1, last}
		}
		s.Ops = append(s.Ops, send, recv)
	}
	return s
}

// allPairs combines the own input with that of each other member, all at once.
func allPairs(n, self, size int) *Schedule {
	s := &Schedule{Name: "pairs", Peers: n, Self: self, Input: size, Output: n * size, Elem: mapLen}
	in := Span{Input, 0, size}
	for p := range n {
		out := Span{Output, p * size, size}
		if p == self {
			s.Ops = append(s.Ops, SchedOp{Kind: Copy, Src: in, Dst: out})
			continue
		}
		s.Ops = append(s.Ops,
			SchedOp{Kind: Send, Peer: p, Src: in},
			SchedOp{Kind: RecvReduce, Peer: p, Src: in, Dst: out, Reverse: p%2 == 1})
	}
	return s
}

// gatherReduce collects all inputs in NIC memory and combines them from the
// right, with the left operand in the source.
func gatherReduce(n, self, size int) *Schedule {
	s := &Schedule{Name: "allreduce/gather", Peers: n, Self: self, Input: size, Output: size, Scratch: n * size, Elem: mapLen}
	recvs := make([]int, n)
	for p := range n {
		if p == self {
			recvs[p] = len(s.Ops)
			s.Ops = append(s.Ops, SchedOp{Kind: Copy, Src: Span{Input, 0, size}, Dst: Span{Scratch, p * size, size}})
			continue
		}
		recvs[p] = len(s.Ops) + 1
		s.Ops = append(s.Ops,
			SchedOp{Kind: Send, Peer: p, Src: Span{Input, 0, size}},
			SchedOp{Kind: Recv, Peer: p, Dst: Span{Scratch, p * size, size}})
	}
	s.Ops = append(s.Ops, SchedOp{Kind: Copy, Src: Span{Scratch, (n - 1) * size, size}, Dst: Span{Output, 0, size}, After: []int{recvs[n-1]}})
	for p := n - 2; p >= 0; p-- {
		s.Ops = append(s.Ops, SchedOp{Kind: Reduce, Src: Span{Scratch, p * size, size}, Dst: Span{Output, 0, size}, Reverse: true,
			After: []int{recvs[p], len(s.Ops) - 1}})
	}
	return s
}
