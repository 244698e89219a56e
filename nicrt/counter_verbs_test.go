package nicrt

import (
	"context"
	"errors"
	"testing"
	"time"

	"outboard/verbs"
)

// testQP is a queue pair on the context of a NIC, with what it needs.
type testQP struct {
	ctx *verbs.Context
	cq  *verbs.CQ
	qp  *verbs.QP
}

func noError(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// newQP makes a queue pair that counts its receives on k, unless that is nil.
func newQP(t testing.TB, n *NIC, k *verbs.Counter) *testQP {
	t.Helper()
	q := &testQP{ctx: n.Context()}
	pd, err := q.ctx.AllocPD()
	noError(t, err)
	q.cq, err = q.ctx.CreateCQ(64, nil)
	noError(t, err)
	q.qp, err = q.ctx.CreateQP(pd, verbs.QPInit{SendCQ: q.cq, RecvCQ: q.cq, Cap: verbs.QPCap{SendWR: 64, RecvWR: 64}})
	noError(t, err)
	if k != nil {
		noError(t, q.qp.AttachCounter(k, verbs.CountRecv))
	}
	return q
}

func (q *testQP) connect(t testing.TB, peer *testQP) {
	t.Helper()
	a := verbs.QPAttr{Port: 1, AV: peer.ctx.Addr(), PathMTU: 1024, DestQPN: peer.qp.QPN(), RNRRetry: 7}
	for _, s := range []struct {
		to   verbs.State
		mask verbs.AttrMask
	}{
		{verbs.Init, verbs.AttrPKeyIndex | verbs.AttrPort | verbs.AttrAccess},
		{verbs.RTR, verbs.AttrAV | verbs.AttrPathMTU | verbs.AttrDestQPN | verbs.AttrRQPSN | verbs.AttrMaxDestRdAtomic | verbs.AttrMinRNRTimer},
		{verbs.RTS, verbs.AttrSQPSN | verbs.AttrTimeout | verbs.AttrRetryCnt | verbs.AttrRNRRetry | verbs.AttrMaxRdAtomic},
	} {
		a.State = s.to
		noError(t, q.qp.Modify(a, s.mask|verbs.AttrState))
	}
}

func waitFor(k *verbs.Counter, threshold uint64) verbs.SendWR {
	return verbs.SendWR{Opcode: verbs.WaitCounter, Wait: &verbs.WaitFor{Counter: k, Threshold: threshold}}
}

// counterOf makes a counter and gives both of its faces.
func counterOf(t testing.TB, n *NIC) (c Counter, k *verbs.Counter) {
	t.Helper()
	locked(n, func() {
		c = mustAlloc(t, n)
		var err error
		k, err = n.VerbsCounter(c)
		noError(t, err)
	})
	return c, k
}

// TestOneKindOfCounter goes in circles between two NICs whose hosts do nothing: a message to a program counts, a WAIT for that count lets a
// SEND go, the receive of the SEND counts on the other side, and that count triggers the next message.
func TestOneKindOfCounter(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		const rounds = 20
		nics := openMesh(t, f, 2)
		c0, k0 := counterOf(t, nics[0])
		c1, k1 := counterOf(t, nics[1])
		install(t, nics[0], 9, counting())
		q0, q1 := newQP(t, nics[0], nil), newQP(t, nics[1], k1)
		q0.connect(t, q1)
		q1.connect(t, q0)
		for i := range uint64(rounds) {
			noError(t, q1.qp.PostRecv(verbs.RecvWR{}))
			noError(t, q0.qp.PostSend(waitFor(k0, i+1), verbs.SendWR{}))
		}
		token := Header{Program: 9, Tag: uint64(c0)}
		locked(nics[1], func() {
			for i := range uint64(rounds - 1) {
				noError(t, nics[1].Arm(Triggered{Kind: TriggerSend, Counter: c1, Threshold: i + 1, Peer: 0, Header: token}))
			}
		})
		mustPost(t, nics[1], 0, token, nil)
		want := CounterValue{Success: rounds}
		for end := time.Now().Add(testPatience); k1.Read() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("counted %+v and %+v, want %d", k0.Read(), k1.Read(), rounds)
			}
		}
		locked(nics[0], func() {
			if v, err := nics[0].ReadCounter(c0); v != want || err != nil {
				t.Errorf("counter %+v, %v, want %+v", v, err, want)
			}
		})
		if a := nics[1].Account(); a.Triggered != rounds-1 || a.Increments != rounds {
			t.Errorf("account: %d triggered by %d increments", a.Triggered, a.Increments)
		}
	})
}

// TestHostAndCounter has a host change, and wait for, a counter of the NIC as one of the device.
func TestHostAndCounter(t *testing.T) {
	n := openMesh(t, testFabrics[0], 1)[0]
	c, k := counterOf(t, n)
	called := make(chan struct{}, 1)
	locked(n, func() {
		noError(t, n.Arm(Triggered{Kind: TriggerCall, Counter: c, Threshold: 3, Call: func() error { called <- struct{}{}; return nil }}))
	})
	noError(t, k.Add(CounterValue{Success: 1, Failure: 1}))
	select {
	case <-called:
		t.Fatal("released below its threshold")
	case <-time.After(2 * time.Millisecond):
	}
	noError(t, k.Set(CounterValue{Success: 5}))
	select {
	case <-called:
	case <-time.After(testPatience):
		t.Fatal("not released")
	}
	done := make(chan error)
	go func() { _, err := k.Wait(context.Background(), 7); done <- err }()
	time.Sleep(2 * time.Millisecond) // it sleeps
	locked(n, func() { noError(t, n.Increment(c, CounterValue{Success: 2})) })
	select {
	case err := <-done:
		noError(t, err)
	case <-time.After(testPatience):
		t.Fatal("a wait for what a counter has reached")
	}
	if err := k.Destroy(); !errors.Is(err, verbs.ErrBusy) {
		t.Errorf("the host destroys a counter of the NIC: %v", err)
	}
}

// TestFreedCounterAndQueuePairs frees a counter that queue pairs use.
func TestFreedCounterAndQueuePairs(t *testing.T) {
	n := openMesh(t, testFabrics[0], 1)[0]
	c, k := counterOf(t, n)
	counts, waits, peer := newQP(t, n, k), newQP(t, n, nil), newQP(t, n, nil)
	waits.connect(t, peer)
	noError(t, waits.qp.PostSend(waitFor(k, 1)))
	locked(n, func() {
		if err := n.FreeCounter(c); !errors.Is(err, ErrCounter) {
			t.Errorf("a counter on which a queue pair counts is freed: %v", err)
		}
	})
	noError(t, counts.qp.Destroy())
	locked(n, func() { noError(t, n.FreeCounter(c)) })
	var wc [1]verbs.WC
	if _, err := waits.cq.Wait(t.Context(), wc[:]); err != nil || wc[0].Status != verbs.LocQPOpErr {
		t.Errorf("a WAIT for a freed counter ended with %v, %v", wc[0].Status, err)
	}
	again, _ := counterOf(t, n)
	locked(n, func() {
		if v, err := n.ReadCounter(again); again != c || v != (CounterValue{}) || err != nil {
			t.Errorf("counter %d is %+v, %v, want %d and 0", again, v, err, c)
		}
		if _, err := n.VerbsCounter(c + 1); !errors.Is(err, ErrCounter) {
			t.Errorf("a counter that is not there: %v", err)
		}
	})
}
