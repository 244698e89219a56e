package faulty_test

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
)

// A flow is what a test knows of one Conn: what it sent and what came.
type flow struct {
	sent uint32 // packets 0 to sent-1
	came []arrival
}

// check says what is wrong with what came, given what may have happened.
func (f *flow) check(o faulty.Options, cut bool) error {
	copies := map[uint32]int{}
	var first []uint32 // in the order of their first arrival
	for _, a := range f.came {
		id := a.header.PSN
		if id >= f.sent {
			return fmt.Errorf("packet %d came, of %d", id, f.sent)
		}
		want, wrong := payload(id), 0
		if len(a.payload) != len(want) {
			return fmt.Errorf("packet %d came with %d bytes, want %d", id, len(a.payload), len(want))
		}
		for i := range want {
			wrong += bits.OnesCount8(a.payload[i] ^ want[i])
		}
		if wrong > 1 || wrong == 1 && o.Corrupt == 0 {
			return fmt.Errorf("packet %d came with %d bits flipped", id, wrong)
		}
		if copies[id]++; copies[id] == 1 {
			first = append(first, id)
		}
		if copies[id] > 2 || copies[id] > 1 && o.Duplicate == 0 {
			return fmt.Errorf("packet %d came %d times", id, copies[id])
		}
	}
	if o.Drop == 0 && !cut && len(first) != int(f.sent) {
		return fmt.Errorf("%d packets of %d came", len(first), f.sent)
	}
	if o.Reorder == 0 && o.Delay == 0 && !slices.IsSorted(first) {
		return fmt.Errorf("packets came in the order %v", first)
	}
	return nil
}

// Random programs of sends, polls, cuts and waits on a random wire: what comes is what was sent, but for what
// the options allow.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		chance := rapid.SampledFrom([]float64{0, 0, 0.1, 0.5, 1})
		o := faulty.Options{
			Seed:      rapid.Uint64().Draw(rt, "seed"),
			Drop:      chance.Draw(rt, "drop"),
			Duplicate: chance.Draw(rt, "duplicate"),
			Reorder:   chance.Draw(rt, "reorder"),
			Delay:     chance.Draw(rt, "delay"),
			Corrupt:   chance.Draw(rt, "corrupt"),
			CutAfter:  rapid.SampledFrom([]uint64{0, 0, 20}).Draw(rt, "cut after"),
			HealAfter: ms,
		}
		r := newRig(t, 3, o, inproc.Options{Slots: rapid.SampledFrom([]int{8, 64}).Draw(rt, "slots")})
		defer r.far.Close()
		defer r.port.Close()
		flows := make([]flow, len(r.conns))
		cut := o.CutAfter > 0
		receive := func() (n int) {
			r.take()
			n = len(r.in.got)
			for _, a := range r.in.got {
				flows[a.cookie].came = append(flows[a.cookie].came, a)
			}
			r.in.got = nil
			return n
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				r.clock.advance(time.Duration(rapid.IntRange(1, 1500).Draw(rt, "wait")) * time.Microsecond)
			case 1:
				receive()
			case 2:
				r.port.Poll(&r.back, 4)
			case 3:
				if rapid.Bool().Draw(rt, "cut") {
					cut = true
					r.port.CutConn(rapid.IntRange(0, 2).Draw(rt, "conn"))
				}
				r.port.Heal()
			default:
				ep := rapid.IntRange(0, len(flows)-1).Draw(rt, "conn")
				f := &flows[ep]
				for range rapid.IntRange(1, 30).Draw(rt, "packets") {
					if !r.try(ep, f.sent) {
						break
					}
					f.sent++
				}
			}
		}
		// All that is held comes out, in the end, by polls alone.
		r.port.Heal()
		r.clock.advance(ms)
		for receive() > 0 || r.port.Stats().Held > 0 {
		}
		var sent, taken uint64
		for ep := range flows {
			if err := flows[ep].check(o, cut); err != nil {
				rt.Fatalf("%v, Conn %d: %v", r.port, ep, err)
			}
			sent += uint64(flows[ep].sent)
			taken += uint64(len(flows[ep].came))
			if n := r.conns[ep].Sent(); n != uint64(len(flows[ep].came)) {
				rt.Fatalf("Conn %d: Sent is %d, %d came", ep, n, len(flows[ep].came))
			}
		}
		s := r.port.Stats()
		if s.Sent != sent || s.Sent+s.Duplicated != taken+s.Dropped+s.Cut {
			rt.Fatalf("%v: %d sent, %d came, stats %+v", r.port, sent, taken, s)
		}
		if o.Drop == 0 && s.Dropped > 0 || o.Duplicate == 0 && s.Duplicated > 0 || o.Corrupt == 0 && s.Corrupted > 0 || !cut && s.Cut > 0 {
			rt.Fatalf("%v: stats %+v", r.port, s)
		}
	})
}

// Packets have the fate that the seed has for them: in each run, and whatever the other Conns and the receiver do.
func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := faulty.Options{
			Seed: rapid.Uint64().Draw(rt, "seed"),
			Drop: 0.1, Duplicate: 0.1, Reorder: 0.1, Delay: 0.1, Corrupt: 0.1, CutAfter: 45,
		}
		order := rapid.SliceOfN(rapid.IntRange(0, 2), 60, 150).Draw(rt, "order")
		// run sends packets on Conns in this order, each followed by what between does, and returns what came
		// on each Conn.
		run := func(order []int, between func(*rig)) (came [3][]string) {
			r := newRig(t, 3, o, inproc.Options{Slots: 512, Bulk: 512 << 10})
			defer r.far.Close()
			defer r.port.Close()
			var sent [3]uint32
			for _, ep := range order {
				if !r.try(ep, sent[ep]) {
					rt.Fatal("not taken")
				}
				sent[ep]++
				between(r)
			}
			r.clock.advance(ms)
			r.take()
			for _, a := range r.in.got {
				came[a.cookie] = append(came[a.cookie], fmt.Sprintf("%d:%x", a.header.PSN, a.payload))
			}
			return came
		}
		nothing := func(*rig) {}
		once := run(order, nothing)
		if again := run(order, nothing); !equal(once, again) {
			rt.Fatalf("seed %d: first\n%v, then\n%v", o.Seed, once, again)
		}
		// One Conn after the other, and with a receiver that takes packets meanwhile.
		sorted := slices.Clone(order)
		slices.Sort(sorted)
		if again := run(sorted, func(r *rig) { r.take() }); !equal(once, again) {
			rt.Fatalf("seed %d: by turns\n%v, one by one\n%v", o.Seed, once, again)
		}
	})
}

func equal(a, b [3][]string) bool {
	return slices.EqualFunc(a[:], b[:], slices.Equal)
}

// Other seeds have other faults.
func TestSeeds(t *testing.T) {
	seen := map[string]uint64{}
	for seed := range uint64(50) {
		r := newRig(t, 1, faulty.Options{Seed: seed, Drop: 0.5}, inproc.Options{})
		for id := range uint32(60) {
			r.send(id)
		}
		var text []byte
		for _, id := range r.receive() {
			text = binary.BigEndian.AppendUint32(text, id)
		}
		if other, ok := seen[string(text)]; ok {
			t.Fatalf("seeds %d and %d lose the same packets", seed, other)
		}
		seen[string(text)] = seed
	}
}
