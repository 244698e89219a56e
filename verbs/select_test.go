package verbs_test

import (
	"sync"
	"testing"
	"time"

	"outboard/verbs"
)

// A selector is one side of a ping-pong whose host takes part as an event loop does: it arms the queue, polls once more, and
// waits in a select.
type selector struct {
	*end
	ch *verbs.CompChannel
}

// selectors are two connected sides.
func selectors(t testing.TB, f fabricUnder) (a, b selector) {
	t.Helper()
	a.end, b.end = newEnd(t, f), newEnd(t, f)
	a.ch, b.ch = a.withChannel(t), b.withChannel(t)
	a.connect(t, b.end)
	b.connect(t, a.end)
	return a, b
}

// next waits for the next completion; event waits for an event of the channel.
func (s selector) next(t testing.TB, event func() bool) (wc verbs.WC, ok bool) {
	var wcs [1]verbs.WC
	for {
		if !checkTB(t, s.cq.ReqNotify(false)) {
			return wc, false
		}
		n, err := s.cq.Poll(wcs[:])
		if n == 0 && err == nil {
			if !event() {
				return wc, false
			}
			n, err = s.cq.Poll(wcs[:])
		}
		if !checkTB(t, err) {
			return wc, false
		}
		if n == 1 {
			return wcs[0], true
		}
	}
}

// selected waits for an event in a select, which wait is, and takes all that are there.
func (s selector) selected(t testing.TB, wait func(<-chan struct{}) bool) bool {
	if !wait(s.ch.C()) {
		t.Errorf("no event within 10 s")
		return false
	}
	for ok := true; ok; {
		_, ok = s.ch.TryGet()
	}
	return true
}

func checkTB(t testing.TB, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// play is one side of a ping-pong of so many rounds; next gives the next completion.
func (s selector) play(t testing.TB, rounds uint64, first bool, next func() (verbs.WC, bool)) {
	for id := range rounds {
		if first && !checkTB(t, s.qp.PostSend(verbs.SendWR{Flags: verbs.Signaled})) {
			return
		}
		wc, ok := next()
		for ok && wc.Opcode == verbs.WCSend && wc.Status == verbs.Success { // frees an entry of the send queue
			wc, ok = next()
		}
		if !ok {
			return
		}
		if wc.ID != id || wc.Status != verbs.Success || wc.Opcode != verbs.WCRecv {
			t.Errorf("completion %+v, want that of receive %d", wc, id)
			return
		}
		// The next receive is there before the peer is told to go on.
		if !checkTB(t, s.qp.PostRecv(verbs.RecvWR{ID: id + 1})) || !first && !checkTB(t, s.qp.PostSend(verbs.SendWR{Flags: verbs.Signaled})) {
			return
		}
	}
}

func patient(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

// TestSelectPingPong: no event of a thousand rounds is lost, whoever runs the NIC when it comes.
func TestSelectPingPong(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := selectors(t, f)
		must(t, a.qp.PostRecv(verbs.RecvWR{}))
		must(t, b.qp.PostRecv(verbs.RecvWR{}))
		const rounds = 1000
		var wg sync.WaitGroup
		for i, s := range []selector{a, b} {
			wg.Go(func() {
				s.play(t, rounds, i == 0, func() (verbs.WC, bool) { return s.next(t, func() bool { return s.selected(t, patient) }) })
			})
		}
		wg.Wait()
	})
}

// BenchmarkSelect is an empty message there and back between two hosts that wait for it in a select, or, to compare, in Get,
// also on a channel whose C has been asked for, where each ReqNotify hands the NIC over.
func BenchmarkSelect(b *testing.B) {
	inSelect := func(s selector) (verbs.WC, bool) {
		return s.next(b, func() bool { return s.selected(b, func(c <-chan struct{}) bool { <-c; return true }) })
	}
	inGet := func(s selector) (verbs.WC, bool) {
		return s.next(b, func() bool {
			_, err := s.ch.Get(b.Context())
			return checkTB(b, err)
		})
	}
	for _, f := range plainFabrics {
		for _, way := range []struct {
			name string
			next func(selector) (verbs.WC, bool)
			asks bool
		}{
			{"select", inSelect, true},
			{"Get", inGet, false},
			{"Get after C", inGet, true},
		} {
			b.Run(f.name+"/"+way.name, func(b *testing.B) {
				x, y := selectors(b, f)
				for _, s := range []selector{x, y} {
					must(b, s.qp.PostRecv(verbs.RecvWR{}))
					if way.asks {
						s.ch.C()
					}
				}
				side := func(s selector, first bool) {
					s.play(b, uint64(b.N), first, func() (verbs.WC, bool) { return way.next(s) })
				}
				b.ResetTimer()
				var wg sync.WaitGroup
				wg.Go(func() { side(y, false) })
				side(x, true)
				wg.Wait()
			})
		}
	}
}
