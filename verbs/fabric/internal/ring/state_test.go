package ring

import (
	"runtime"
	"sync"
	"testing"

	"outboard/verbs/fabric"
)

// The steps of the table in state.go, by name.
func TestState(t *testing.T) {
	type step struct {
		name string
		do   func(r Ring) bool
		want bool
	}
	yes := func(f func(Ring)) func(Ring) bool { return func(r Ring) bool { f(r); return true } }
	claim := func(r Ring) bool { return r.Claim(7) }
	open := func(r Ring) bool { return r.Open(false) }
	fresh := func(r Ring) bool { return r.Open(true) }
	put := func(r Ring) bool { s := NewSender(r); return s.Put(&fabric.Header{}, nil, nil) }
	finish := yes(Ring.Finish)
	retire := func(r Ring) bool { return r.Retire(false) }
	bury := func(r Ring) bool { return r.Retire(true) }
	clean := func(r Ring) bool {
		pid, _ := r.Sender()
		return r.ctl.state.Load() == 0 && pid == 0 && !r.Waiting() && r.Grant() == fabric.Grant{} && r.Origin() == ""
	}
	for name, steps := range map[string][]step{
		"receiver alone": {{"open", open, true}, {"retire", retire, false}, {"clean", clean, true}},
		"two receivers":  {{"open", open, true}, {"open", open, false}},
		"two senders":    {{"claim", claim, true}, {"claim", claim, false}},
		"sender without a packet": {
			{"claim", claim, true}, {"finish", finish, true}, {"clean", clean, true},
		},
		"early sender": {
			{"claim", claim, true}, {"put", put, true}, {"finish", finish, true}, {"claim", claim, false},
			{"fresh", fresh, false}, {"open", open, true}, {"waiting", Ring.Waiting, true},
			{"finished", Ring.Finished, true}, {"claim", claim, false}, {"retire", retire, false}, {"clean", clean, true},
		},
		"sender leaves first": {
			{"open", open, true}, {"claim", claim, true}, {"put", put, true}, {"finish", finish, true},
			{"finished", Ring.Finished, true}, {"retire", retire, false}, {"clean", clean, true},
		},
		"receiver leaves first": {
			{"open", open, true}, {"claim", claim, true}, {"put", put, true}, {"retire", retire, true},
			{"retired", Ring.Retired, true}, {"open", open, false}, {"claim", claim, false}, {"stuck", Ring.Stuck, true},
			{"finish", finish, true}, {"clean", clean, true}, {"open", open, true},
		},
		"sender died": {
			{"open", open, true}, {"claim", claim, true}, {"put", put, true}, {"bury", bury, false}, {"clean", clean, true},
		},
		"sender died later": {
			{"open", open, true}, {"claim", claim, true}, {"retire", retire, true},
			{"recover", yes(Ring.Recover), true}, {"clean", clean, true}, {"finish", finish, true}, {"clean", clean, true},
		},
		"recover spares the living": {
			{"open", open, true}, {"claim", claim, true}, {"recover", yes(Ring.Recover), true}, {"clean", clean, false},
		},
		"finish without claim": {{"finish", finish, true}, {"clean", clean, true}},
		"retire without open":  {{"retire", retire, false}, {"clean", clean, true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(small)
			for i, s := range steps {
				if got := s.do(r); got != s.want {
					t.Fatalf("step %d, %s: %v, want %v; state %#x", i, s.name, got, s.want, r.ctl.state.Load())
				}
			}
		})
	}
}

// A sender that dies while it wipes leaves a ring that can be recovered.
func TestDiedWiping(t *testing.T) {
	for _, rx := range []uint64{0, rxRetired} {
		r := New(small)
		r.ctl.state.Store(rx | txClaimed | wiping | 7<<32)
		r.ctl.tail.Store(5)
		if r.Open(false) || r.Claim(8) || !r.Stuck() {
			t.Fatalf("state %#x is usable", r.ctl.state.Load())
		}
		r.Finish() // of another sender: does nothing
		if pid, claimed := r.Sender(); pid != 7 || !claimed {
			t.Fatalf("sender %d, %v", pid, claimed)
		}
		r.Recover()
		if r.ctl.tail.Load() != 0 || !r.Open(true) {
			t.Fatal("not recovered")
		}
	}
}

// Senders and receivers come and go at the same time. Whoever holds an end finds the ring as if
// it were new, and in the end it is.
func TestComeAndGo(t *testing.T) {
	r := New(small)
	var senders, wg sync.WaitGroup
	done := make(chan struct{})
	for id := range uint32(2) {
		senders.Go(func() {
			for range 3000 {
				if !r.Claim(id + 1) {
					runtime.Gosched()
					continue
				}
				s := NewSender(r)
				if s.Acked() != 0 {
					t.Error("a claimed ring has a past")
				}
				s.Put(&fabric.Header{Key: id + 1}, nil, nil)
				r.Finish()
			}
		})
	}
	wg.Go(func() {
		for over := false; !over; {
			select {
			case <-done:
				over = true
			default:
			}
			if !r.Open(false) {
				runtime.Gosched()
				continue
			}
			v := NewReceiver(r)
			var h fabric.Header
			if _, st := v.Peek(&h); st == Corrupt {
				t.Error(v.Fault())
			} else if pid, _ := r.Sender(); st == Packet && h.Key != pid {
				t.Errorf("packet of %d in the ring of %d", h.Key, pid)
			}
			r.Retire(false)
		}
	})
	senders.Wait()
	close(done)
	wg.Wait()
	if s := r.ctl.state.Load(); s != 0 || r.Waiting() {
		t.Fatalf("state %#x in the end", s)
	}
}

// A reader sees a whole grant, or none if the writer died half-way.
func TestGrant(t *testing.T) {
	r := New(small)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range uint32(20000) {
			r.SetGrant(fabric.Grant{Ready: i&1 == 1, PD: i, Access: ^i})
		}
	})
	for range 20000 {
		if g := r.Grant(); g != (fabric.Grant{}) && (g.Access != ^g.PD || g.Ready != (g.PD&1 == 1)) {
			t.Fatalf("torn grant %+v", g)
		}
	}
	wg.Wait()
	r.ctl.grant.seq.Add(1)
	if g := r.Grant(); g != (fabric.Grant{}) {
		t.Fatalf("grant %+v of a dead writer", g)
	}
}
