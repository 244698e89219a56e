package verbs_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"outboard/verbs"
)

func TestResizeCQ(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	most := e.ctx.Limits().MaxCQE
	for _, c := range []struct {
		name      string
		held, n   int
		wantError bool
	}{
		{name: "nothing", n: 0, wantError: true},
		{name: "negative", n: -1, wantError: true},
		{name: "more than the device has", n: most + 1, wantError: true},
		{name: "one", n: 1},
		{name: "larger", held: 3, n: 9},
		{name: "smaller", held: 3, n: 4},
		{name: "as many as there are", held: 3, n: 3},
		{name: "fewer than there are", held: 3, n: 2, wantError: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cq, flush := flushable(t, e, 8)
			flush(uint64(c.held))
			err := cq.Resize(c.n)
			want := c.n
			if c.wantError {
				wantErr(t, err, verbs.ErrInvalid)
				want = 8
			} else {
				must(t, err)
			}
			if got := cq.Cap(); got != want {
				t.Errorf("the queue holds %d, want %d", got, want)
			}
			got := drain(t, cq)
			if want := ids(0, uint64(c.held)); !slices.Equal(got, want) {
				t.Errorf("completions %v, want %v", got, want)
			}
		})
	}
	t.Run("destroyed", func(t *testing.T) {
		cq, err := e.ctx.CreateCQ(1, nil)
		must(t, err)
		must(t, cq.Destroy())
		wantErr(t, cq.Resize(2), verbs.ErrDestroyed)
	})
}

// flushable is a completion queue and a function that has n completions come, with IDs that count up from 0.
func flushable(t testing.TB, e *end, n int) (*verbs.CQ, func(uint64)) {
	t.Helper()
	cq, err := e.ctx.CreateCQ(n, nil)
	must(t, err)
	side := newEndOn(t, e.f, e.ctx, func(in *verbs.QPInit) { in.SendCQ, in.RecvCQ = cq, cq })
	side.bring(t, attrFor(side), verbs.Init)
	must(t, side.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
	next := uint64(0)
	return cq, func(n uint64) {
		for range n {
			must(t, side.qp.PostRecv(verbs.RecvWR{ID: next}))
			next++
		}
	}
}

func drain(t testing.TB, cq *verbs.CQ) (got []uint64) {
	t.Helper()
	wcs := make([]verbs.WC, 2)
	for {
		n, err := cq.Poll(wcs)
		must(t, err)
		for _, wc := range wcs[:n] {
			got = append(got, wc.ID)
		}
		if n == 0 {
			return got
		}
	}
}

func ids(from, to uint64) (all []uint64) {
	for ; from < to; from++ {
		all = append(all, from)
	}
	return all
}

// TestCQAgainstModel runs random programs of arrivals, polls and resizes on a queue and on a slice.
func TestCQAgainstModel(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 6).Draw(rt, "size")
		cq, arrive := flushable(t, e, size)
		var model []uint64
		next := uint64(0)
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				n := rapid.IntRange(0, size-len(model)).Draw(rt, "arrivals")
				arrive(uint64(n))
				model = append(model, ids(next, next+uint64(n))...)
				next += uint64(n)
			case 1:
				wcs := make([]verbs.WC, rapid.IntRange(0, 4).Draw(rt, "room"))
				n, err := cq.Poll(wcs)
				if want := min(len(wcs), len(model)); n != want || err != nil {
					rt.Fatalf("%d completions, %v; want %d", n, err, want)
				}
				for i, wc := range wcs[:n] {
					if wc.ID != model[i] {
						rt.Fatalf("completion %d, want %d", wc.ID, model[i])
					}
				}
				model = model[n:]
			case 2:
				n := rapid.IntRange(0, 8).Draw(rt, "new size")
				err := cq.Resize(n)
				if bad := n == 0 || n < len(model); bad != (err != nil) {
					rt.Fatalf("resize from %d to %d with %d completions: %v", size, n, len(model), err)
				} else if !bad {
					size = n
				}
			case 3:
				stop := rapid.IntRange(1, 4).Draw(rt, "iterate")
				for wc := range cq.All() {
					if wc.ID != model[0] {
						rt.Fatalf("completion %d, want %d", wc.ID, model[0])
					}
					if model = model[1:]; stop == 1 {
						break
					}
					stop--
				}
			}
			if cq.Cap() != size {
				rt.Fatalf("the queue holds %d, want %d", cq.Cap(), size)
			}
		}
		if got := drain(t, cq); !slices.Equal(got, model) {
			rt.Fatalf("completions %v, want %v", got, model)
		}
	})
}

// TestResizeCQOfTagMatching: operations on the tag list whose completions have been polled are over, also if the queue had another size
// when they came.
func TestResizeCQOfTagMatching(t *testing.T) {
	const most = 4
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{MaxOps: most})
	op := verbs.TMOp{Kind: verbs.TagSync, Flags: verbs.OpsSignaled}
	rounds := func() {
		for range 3 {
			must(t, p.srq.PostOps(&op, &op, &op, &op))
			wantErr(t, p.srq.PostOps(&op), verbs.ErrQueueFull)
			if got := len(drain(t, p.b.cq)); got != most {
				t.Fatalf("%d completions, want %d", got, most)
			}
		}
	}
	rounds()
	must(t, p.srq.PostOps(&op, &op))
	must(t, p.b.cq.Resize(7))
	wantErr(t, p.srq.PostOps(&op, &op, &op), verbs.ErrQueueFull)
	drain(t, p.b.cq)
	rounds()
}
