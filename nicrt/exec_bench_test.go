package nicrt

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// benchWire hands messages to the other executor through a small ring, with
// one copy, which is what shared memory costs.
type benchWire struct {
	ring  [64]benchPacket
	taken int
	put   int
}

type benchPacket struct {
	hdr  Header
	n    int
	data [1024]byte
}

func (w *benchWire) send(_ int, h *Header, payload []byte) bool {
	if w.put-w.taken == len(w.ring) {
		return false
	}
	p := &w.ring[w.put%len(w.ring)]
	p.hdr = *h
	p.n = copy(p.data[:], payload)
	w.put++
	return true
}

func (w *benchWire) poll(e *exec, peer int) {
	for w.taken < w.put {
		p := &w.ring[w.taken%len(w.ring)]
		if taken, err := e.deliver(peer, &p.hdr, p.data[:p.n]); !taken || err != nil {
			panic(fmt.Sprint(taken, err))
		}
		w.taken++
	}
}

func (w *benchWire) expose(int, []byte) (uint64, uint32, error) { panic("not used") }
func (w *benchWire) conceal(uint32)                             { panic("not used") }
func (w *benchWire) read(int, []byte, uint64, uint32, uint64) (bool, error) {
	panic("not used")
}

func addFloats(dst, src []byte) {
	for i := 0; i+8 <= len(dst); i += 8 {
		a := math.Float64frombits(binary.LittleEndian.Uint64(dst[i:]))
		b := math.Float64frombits(binary.LittleEndian.Uint64(src[i:]))
		binary.LittleEndian.PutUint64(dst[i:], math.Float64bits(a+b))
	}
}

// benchPair is two members of a group on one thread.
type benchPair struct {
	wires   [2]benchWire
	groups  [2]*group
	comp    [2]*Compiled
	done    [2]Completion
	in, out [2][]byte
}

func newBenchPair(t tester, bytes int) *benchPair {
	p := &benchPair{}
	for i := range 2 {
		e, err := newExec(execConfig{wire: &p.wires[i], eagerMax: 1024})
		if err != nil {
			t.Fatal(err)
		}
		if p.groups[i], err = e.group(0, []int{0, 1}, i); err != nil {
			t.Fatal(err)
		}
		s := pairSchedule(i, bytes, 8)
		s.Ops[1].Reverse = false
		if p.comp[i], err = Compile(s); err != nil {
			t.Fatal(err)
		}
		p.in[i], p.out[i] = make([]byte, bytes), make([]byte, bytes)
	}
	return p
}

// allreduce makes both members' call, and delivers the messages.
func (p *benchPair) allreduce(t tester) {
	for i := range 2 {
		if _, err := p.groups[i].start(p.comp[i], p.in[i], p.out[i], addFloats, 1, &p.done[i]); err != nil {
			t.Fatal(err)
		}
	}
	p.wires[1].poll(p.groups[0].e, 1)
	p.wires[0].poll(p.groups[1].e, 0)
	if !p.done[0].Done() || !p.done[1].Done() {
		t.Fatal("not done")
	}
}

// BenchmarkPairAllreduce runs an Allreduce of 8 bytes between two members, both
// on this thread: ns/op covers both ends and the ring between them.
func BenchmarkPairAllreduce(b *testing.B) {
	p := newBenchPair(b, 8)
	b.ReportAllocs()
	for b.Loop() {
		p.allreduce(b)
	}
}

// TestRunsDoNotAllocate makes sure that a run costs no memory of its own, also
// if a message has to be kept.
func TestRunsDoNotAllocate(t *testing.T) {
	for _, bytes := range []int{8, 512} {
		p := newBenchPair(t, bytes)
		both := testing.AllocsPerRun(100, func() { p.allreduce(t) })
		early := testing.AllocsPerRun(100, func() {
			for i := range 2 {
				if _, err := p.groups[i].start(p.comp[i], p.in[i], p.out[i], addFloats, 1, &p.done[i]); err != nil {
					t.Fatal(err)
				}
				p.wires[i].poll(p.groups[1-i].e, i)
			}
		})
		if both != 0 || early != 0 || !p.done[0].Done() || !p.done[1].Done() {
			t.Errorf("%d bytes: %v and %v allocations for a run, want none", bytes, both, early)
		}
	}
}
