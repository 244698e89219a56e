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

// BenchmarkPairAllreduce runs an Allreduce of 8 bytes between two members, both
// on this thread: ns/op covers both ends and the ring between them.
func BenchmarkPairAllreduce(b *testing.B) {
	var wires [2]benchWire
	var groups [2]*group
	var comp [2]*Compiled
	for i := range 2 {
		e, err := newExec(execConfig{wire: &wires[i], eagerMax: 1024})
		if err != nil {
			b.Fatal(err)
		}
		if groups[i], err = e.group(0, []int{0, 1}, i); err != nil {
			b.Fatal(err)
		}
		if comp[i], err = Compile(pairSchedule(i, 8, 8)); err != nil {
			b.Fatal(err)
		}
		comp[i].ops[1].reverse = false
	}
	var done [2]Completion
	in := [2][]byte{make([]byte, 8), make([]byte, 8)}
	out := [2][]byte{make([]byte, 8), make([]byte, 8)}
	b.ReportAllocs()
	for b.Loop() {
		for i := range 2 {
			if _, err := groups[i].start(comp[i], in[i], out[i], addFloats, 1, &done[i]); err != nil {
				b.Fatal(err)
			}
		}
		wires[1].poll(groups[0].e, 1)
		wires[0].poll(groups[1].e, 0)
		if !done[0].Done() || !done[1].Done() {
			b.Fatal("not done")
		}
	}
}
