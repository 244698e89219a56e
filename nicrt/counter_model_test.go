package nicrt

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// refCounters is the reference: every operation in one list in issue order, and
// no structure at all.
type refCounters struct {
	value map[Counter]CounterValue
	armed []*refOp
	queue []*refOp
	log   []int
}

type refOp struct {
	Triggered
	id int
}

func (r *refCounters) change(c Counter, v CounterValue) {
	old, now := r.value[c].Total(), v.Total()
	r.value[c] = v
	var due, left []*refOp
	for _, op := range r.armed {
		switch {
		case op.Counter != c || op.Threshold > now:
			left = append(left, op)
		case op.Persistent:
			left = append(left, op)
			if op.Threshold > old {
				due = append(due, op)
			}
		default:
			due = append(due, op)
		}
	}
	r.armed = left
	slices.SortStableFunc(due, func(a, b *refOp) int { return int(a.Threshold) - int(b.Threshold) })
	r.queue = append(r.queue, due...)
}

// run performs queued operations, at most limit of them.
func (r *refCounters) run(limit int) {
	for n := 0; len(r.queue) > 0 && n < limit; n++ {
		op := r.queue[0]
		r.queue = r.queue[1:]
		switch v := r.value[op.Target]; op.Kind {
		case TriggerCall:
			r.log = append(r.log, op.id)
		case TriggerIncrement:
			r.change(op.Target, CounterValue{Success: v.Success + op.Value.Success, Failure: v.Failure + op.Value.Failure})
		case TriggerSet:
			r.change(op.Target, op.Value)
		}
		if op.Then != 0 {
			v := r.value[op.Then]
			r.change(op.Then, CounterValue{Success: v.Success + 1, Failure: v.Failure})
		}
	}
}

// TestCountersAgainstReference runs random programs on both.
func TestCountersAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const burst, kicks = 64, 4
		u := newCounterUnit(counterConfig{burst: burst})
		ref := &refCounters{value: map[Counter]CounterValue{}}
		var log []int
		var all []Counter
		for range rapid.IntRange(1, 3).Draw(t, "counters") {
			all = append(all, mustCounter(t, u))
		}
		pick := func(name string) Counter { return rapid.SampledFrom(all).Draw(t, name) }
		small := rapid.Map(rapid.IntRange(-3, 3), func(n int) uint64 { return uint64(n) })
		value := func() CounterValue {
			return CounterValue{Success: small.Draw(t, "success"), Failure: uint64(rapid.IntRange(0, 1).Draw(t, "failure"))}
		}
		settle := func() bool {
			ref.run(burst * (kicks + 1))
			for range kicks {
				u.kick()
			}
			return len(ref.queue) == 0
		}
		for id := range rapid.IntRange(1, 30).Draw(t, "steps") {
			c := pick("counter")
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				v := value()
				ref.change(c, CounterValue{Success: ref.value[c].Success + v.Success, Failure: ref.value[c].Failure + v.Failure})
				mustIncrement(t, u, c, v)
			case 1:
				v := CounterValue{Success: uint64(rapid.IntRange(0, 5).Draw(t, "set"))}
				ref.change(c, v)
				if err := u.set(c, v); err != nil {
					t.Fatal(err)
				}
			case 2:
				n := 0
				ref.armed = slices.DeleteFunc(ref.armed, func(op *refOp) bool {
					if op.Counter == c {
						n++
					}
					return op.Counter == c
				})
				if got, err := u.cancelTriggered(c); got != n || err != nil {
					t.Fatalf("cancelled %d, %v; want %d", got, err, n)
				}
			default:
				op := Triggered{Counter: c, Threshold: uint64(rapid.IntRange(0, 5).Draw(t, "threshold")),
					Persistent: rapid.Bool().Draw(t, "persistent"),
					Kind:       rapid.SampledFrom([]TriggerKind{TriggerCall, TriggerIncrement, TriggerSet}).Draw(t, "kind"),
					Target:     pick("target"), Value: value()}
				if rapid.IntRange(0, 3).Draw(t, "counts its end") == 0 {
					op.Then = pick("then")
				}
				op.Call = func() error { log = append(log, id); return nil }
				r := &refOp{op, id}
				due := ref.value[c].Total() >= op.Threshold
				if due {
					ref.queue = append(ref.queue, r)
				}
				if !due || op.Persistent {
					ref.armed = append(ref.armed, r)
				}
				mustArm(t, u, op)
			}
			if !settle() { // an endless chain: only its beginning can be compared
				n := min(len(log), len(ref.log))
				if !slices.Equal(log[:n], ref.log[:n]) {
					t.Fatalf("calls %v, want %v", log, ref.log)
				}
				return
			}
			if !slices.Equal(log, ref.log) {
				t.Fatalf("calls %v, want %v", log, ref.log)
			}
			for _, c := range all {
				if v, err := u.get(c); v != ref.value[c] || err != nil {
					t.Fatalf("counter %d is %v, want %v", c, v, ref.value[c])
				}
			}
			if u.armed != len(ref.armed) || u.busy() {
				t.Fatalf("%d operations are armed, want %d; busy %v", u.armed, len(ref.armed), u.busy())
			}
		}
	})
}
