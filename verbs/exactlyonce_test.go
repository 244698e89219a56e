package verbs_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/internal/ib"
)

// bursts loses packets in a row: every so many, so many.
type bursts struct{ every, length uint64 }

func (b bursts) Judge(p faulty.Packet) faulty.Fault {
	if p.Index%b.every < b.length {
		return faulty.Drop
	}
	return faulty.None
}

func (b bursts) String() string { return fmt.Sprintf("%d of %d packets are lost", b.length, b.every) }

// drawSide draws a wire for what one side sends. It has packets for itself, and must, or is plain.
func drawSide(r *rapid.T, geometry inproc.Options, must bool) (f fabricUnder, plain bool) {
	open := func(t testing.TB) fabric.Port {
		p, err := testSwitch.Open(geometry)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	f = fabricUnder{name: "plain", open: open}
	switch kind := rapid.IntRange(0, 4).Draw(r, "side"); {
	case kind == 0 && !must:
		return f, true
	case kind <= 1:
		f.name, f.opts.Packets = "packets", true
		return f, false
	}
	rate := func(what string, most float64) float64 { return rapid.Float64Range(0, most).Draw(r, what) }
	o := faulty.Options{Seed: rapid.Uint64().Draw(r, "seed"), Drop: rate("drop", 0.06), Duplicate: rate("duplicate", 0.1), Reorder: rate("reorder", 0.1),
		Delay: rate("delay", 0.03), Corrupt: rate("corrupt", 0.03), DelayBy: 500 * time.Microsecond}
	switch rapid.IntRange(0, 2).Draw(r, "more") {
	case 1:
		o.Inject = bursts{rapid.Uint64Range(30, 100).Draw(r, "every"), rapid.Uint64Range(1, 2).Draw(r, "burst")} // on both sides, fewer than there are retries
	case 2:
		o.CutAfter, o.HealAfter = rapid.Uint64Range(1, 60).Draw(r, "cut after"), 3*time.Millisecond
	}
	f.name, f.lossy = fmt.Sprintf("%+v", o), true
	f.open = func(t testing.TB) fabric.Port {
		p, err := faulty.Wrap(open(t), o)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	return f, false
}

// twoWays connects a queue pair of each context and gives the ends of a program from a to b and of one from b to a.
func twoWays(t testing.TB, a, b *end, at func(side int, a *verbs.QPAttr)) (fromA, toB, fromB, toA *end) {
	side := func(e *end) (from, to *end) {
		recv, err := e.ctx.CreateCQ(256, nil)
		must(t, err)
		from = newEndOn(t, e.f, e.ctx, func(in *verbs.QPInit) { in.RecvCQ = recv })
		other := *from
		other.cq = recv
		return from, &other
	}
	fromA, toA = side(a)
	fromB, toB = side(b)
	for i, e := range []*end{fromA, fromB} {
		x := attrFor([]*end{fromB, fromA}[i])
		x.Timeout = 13 // 34 ms, eight times: the peer may have to wait for a processor
		at(i, &x)
		e.bring(t, x, verbs.RTS)
	}
	return fromA, toB, fromB, toA
}

// TestExactlyOnce runs random programs over bad wires, in both directions of two to four queue pairs at once, with all kinds of devices
// on both sides: nothing is lost, done twice or out of order.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		geometry := rapid.SampledFrom([]inproc.Options{{}, {Slots: 8, Bulk: 8 << 10, MTU: 2 << 10}}).Draw(r, "wire")
		x, plain := drawSide(r, geometry, false)
		y, _ := drawSide(r, geometry, plain)
		a, b := newEnd(t, x), newEnd(t, y)
		defer a.ctx.Close()
		defer b.ctx.Close()
		mtu := rapid.SampledFrom([]int{256, 512, 1024}).Draw(r, "MTU")
		reads := rapid.Uint8Range(1, 4).Draw(r, "reads")
		late := rapid.Bool().Draw(r, "late receives")
		var ms []*program
		defer func() {
			if t.Failed() { // outside of rapid, which cannot tell what it has drawn
				t.Logf("a: %v\nb: %v\nMTU %d, %d reads, late %v, counters %+v, %+v", x.name, y.name, mtu, reads, late, a.ctx.HWCounters(), b.ctx.HWCounters())
				for _, m := range ms {
					at, _ := m.a.qp.Query()
					t.Logf("%v PSNs %d %d: %+v", at.State, at.SQPSN, at.RQPSN, m.p)
				}
			}
		}()
		for range rapid.IntRange(2, 4).Draw(r, "queue pairs") {
			psn := [2]uint32{}
			for i := range psn {
				psn[i] = rapid.SampledFrom([]uint32{0, 1000, ib.PSNMask, ib.PSNMask - 20, 1<<23 - 5}).Draw(r, "PSN")
			}
			fromA, toB, fromB, toA := twoWays(t, a, b, func(side int, at *verbs.QPAttr) {
				at.PathMTU, at.SQPSN, at.RQPSN, at.MaxRdAtomic, at.MaxDestRdAtomic, at.MinRNRTimer = mtu, psn[side], psn[1-side], reads, reads, 5
			})
			p := drawProgram(r)
			ms = append(ms, newProgram(t, fromA, toB, p))
			if !ms[len(ms)-1].fails() { // or the failure ends the other direction too
				back := drawProgram(r)
				for i := range back {
					back[i].badKey = false
				}
				ms = append(ms, newProgram(t, fromB, toA, back))
			}
		}
		for _, m := range ms {
			m.start(t, late)
		}
		for i, m := range ms {
			want := model(m.p, m.receives)
			m.run(t, want)
			m.a.f.lossy = x.lossy || y.lossy
			m.refusalLost(&want)
			if d := differ(want, m.got); d != "" {
				r.Fatalf("program %d: %+v:\n%s", i, m.p, d)
			}
		}
	})
}
