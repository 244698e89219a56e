package collectives

import (
	"slices"

	"outboard/nicrt"
)

// program is a schedule in the making. An algorithm writes it as one member's
// steps in the order in which a processor would do them; the program finds out
// from the spans which steps must wait for which, numbers the messages, and
// leaves out those without bytes. So an algorithm says nothing of dependences,
// and steps that share no memory run at the same time.
type program struct {
	Spec
	s      *nicrt.Schedule
	sent   map[int]int // messages so far, by peer: the next one's slot
	came   map[int]int
	memory [3]hazards // by space; the input's stays empty because nothing writes it
}

func newProgram(spec Spec, algorithm string) *program {
	s := &nicrt.Schedule{Name: spec.Kind.String() + "/" + algorithm, Peers: spec.N, Self: spec.Self}
	if spec.Kind.reducing() {
		s.Elem = spec.Elem
	}
	p := &program{Spec: spec, s: s, sent: map[int]int{}, came: map[int]int{}}
	if spec.Kind.rooted() && spec.Self != spec.Root {
		p.InPlace = false
	}
	s.Input, s.Output = p.buffers()
	return p
}

// buffers gives the sizes of input and output in bytes.
func (p *program) buffers() (in, out int) {
	one, all, root := p.bytes(), p.bytes(), p.Self == p.Root
	if p.Kind.blocked() {
		all *= p.N
	}
	switch p.Kind {
	case Bcast:
		return 0, one
	case Gather, Reduce:
		if in = one; root {
			out = all
		}
	case Scatter:
		if out = one; root {
			in = all
		}
	case Allgather, Allreduce:
		in, out = one, all
	case Alltoall:
		in, out = all, all
	}
	if p.InPlace {
		in, out = 0, all
	}
	return in, out
}

// in and out give n bytes of the caller's buffers.
func in(off, n int) nicrt.Span  { return nicrt.Span{Space: nicrt.Input, Off: off, Len: n} }
func out(off, n int) nicrt.Span { return nicrt.Span{Space: nicrt.Output, Off: off, Len: n} }

// scratch takes n bytes of NIC memory, at the beginning of a cache line.
func (p *program) scratch(n int) nicrt.Span {
	const line = 64
	off := (p.s.Scratch + line - 1) &^ (line - 1)
	p.s.Scratch = off + n
	return nicrt.Span{Space: nicrt.Scratch, Off: off, Len: n}
}

// part gives n bytes of a span, beginning at its byte off.
func part(sp nicrt.Span, off, n int) nicrt.Span {
	return nicrt.Span{Space: sp.Space, Off: sp.Off + off, Len: n}
}

// block gives block i of the output.
func (p *program) block(i int) nicrt.Span { return out(i*p.bytes(), p.bytes()) }

// own gives the buffer or block that the member contributes, where the caller
// put it.
func (p *program) own() nicrt.Span {
	switch {
	case !p.InPlace:
		return in(0, p.bytes())
	case p.Kind.blocked():
		return p.block(p.Self)
	}
	return p.block(0)
}

// send sends a span to a member.
func (p *program) send(to int, src nicrt.Span) {
	if src.Len > 0 {
		p.add(nicrt.SchedOp{Kind: nicrt.Send, Peer: to, Src: src})
	}
}

// recv receives a span from a member.
func (p *program) recv(from int, dst nicrt.Span) {
	if dst.Len > 0 {
		p.add(nicrt.SchedOp{Kind: nicrt.Recv, Peer: from, Dst: dst})
	}
}

// recvReduce receives m from a member and does dst = src op m, or with reverse
// dst = m op src.
func (p *program) recvReduce(from int, dst, src nicrt.Span, reverse bool) {
	if src == dst {
		src = nicrt.Span{}
	}
	if dst.Len > 0 {
		p.add(nicrt.SchedOp{Kind: nicrt.RecvReduce, Peer: from, Dst: dst, Src: src, Reverse: reverse})
	}
}

// reduce does dst = dst op src.
func (p *program) reduce(dst, src nicrt.Span) {
	if dst.Len > 0 {
		p.add(nicrt.SchedOp{Kind: nicrt.Reduce, Dst: dst, Src: src})
	}
}

// copy copies src to dst, if they are not the same.
func (p *program) copy(dst, src nicrt.Span) {
	if dst.Len > 0 && dst != src {
		p.add(nicrt.SchedOp{Kind: nicrt.Copy, Dst: dst, Src: src})
	}
}

// add appends an operation with its slot and what it must wait for, besides
// what the caller lists, and gives its index.
func (p *program) add(o nicrt.SchedOp, after ...int) int {
	switch o.Kind {
	case nicrt.Send:
		o.Slot = p.sent[o.Peer]
		p.sent[o.Peer]++
	case nicrt.Recv, nicrt.RecvReduce:
		o.Slot = p.came[o.Peer]
		p.came[o.Peer]++
	}
	i := len(p.s.Ops)
	after = p.touch(after, i, o.Src, false)
	after = p.touch(after, i, o.Dst, true)
	o.After = p.least(after, i)
	p.s.Ops = append(p.s.Ops, o)
	return i
}

func (p *program) touch(deps []int, op int, sp nicrt.Span, write bool) []int {
	if sp.Space == nicrt.Input {
		return deps
	}
	return p.memory[sp.Space].touch(deps, op, sp, write)
}

// least leaves out of what operation op waits for what the rest implies.
func (p *program) least(after []int, op int) []int {
	slices.Sort(after)
	after = slices.Compact(after)
	var kept []int
	for _, a := range slices.Backward(after) {
		if a != op && !slices.ContainsFunc(kept, func(k int) bool { return p.follows(k, a) }) {
			kept = append(kept, a)
		}
	}
	slices.Reverse(kept)
	return kept
}

// follows reports whether operation k waits for a, directly or through others.
// Operations only wait for earlier ones.
func (p *program) follows(k, a int) bool {
	seen := map[int]bool{}
	for stack := []int{k}; len(stack) > 0; {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, b := range p.s.Ops[at].After {
			if b == a {
				return true
			}
			if b > a && !seen[b] {
				seen[b] = true
				stack = append(stack, b)
			}
		}
	}
	return false
}
