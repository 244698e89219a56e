package verbs_test

import (
	"fmt"
	"testing"
	"time"

	"outboard/verbs"
)

// rnrPair connects a pair whose requester gives up after retry waits of the responder's timer code.
func rnrPair(t *testing.T, f fabricUnder, retry, code uint8) (a, b *end) {
	return pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.RNRRetry, at.MinRNRTimer = retry, code }, nil)
}

func TestRNRRetryExceeded(t *testing.T) {
	const code, wait = 16, 2560 * time.Microsecond
	for retry := range uint8(7) {
		for _, op := range []verbs.Opcode{verbs.Send, verbs.SendImm, verbs.WriteImm} {
			t.Run(fmt.Sprintf("%v, retry %d", op, retry), func(t *testing.T) {
				a, b := rnrPair(t, plainFabrics[0], retry, code)
				mem, src := b.reg(t, make([]byte, 64), allRights), a.reg(t, pattern(64, 1), 0)
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 9, SG: []verbs.SGE{mem.part(0, 8)}}))
				must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled, SG: []verbs.SGE{src.part(0, 8)}}))
				a.expect(t, 1, verbs.Success)
				b.expect(t, 9, verbs.Success)

				start := time.Now()
				must(t, a.qp.PostSend(verbs.SendWR{ID: 2, Opcode: op, SG: []verbs.SGE{src.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}, verbs.SendWR{ID: 3}))
				a.expect(t, 2, verbs.RNRRetryExcErr)
				if took, least := time.Since(start), wait*time.Duration(retry); took < least {
					t.Errorf("gave up after %v, want at least %v", took, least)
				}
				a.expect(t, 3, verbs.WRFlushErr)
				a.reaches(t, verbs.Err)

				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 10, SG: []verbs.SGE{mem.sge()}}))
				b.quiet(t, 2*time.Millisecond) // what its sender gave up does not arrive
				if b.state() != verbs.RTS {
					t.Errorf("responder in %v, want RTS", b.state())
				}
				if mem.b[8] != 0 {
					t.Error("the message that failed was written")
				}
			})
		}
	}
}

func TestRNRRetryForEver(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := rnrPair(t, f, 7, 1)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled}))
		a.quiet(t, 5*time.Millisecond)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 2}))
		a.expect(t, 1, verbs.Success)
		b.expect(t, 2, verbs.Success)
	})
}

func TestReceivePostedInTime(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := rnrPair(t, f, 6, 0) // 6 × 655 ms
		for i := range uint64(5) {
			must(t, a.qp.PostSend(verbs.SendWR{ID: i, Flags: verbs.Signaled}))
			a.quiet(t, time.Millisecond)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: i}))
			a.expect(t, i, verbs.Success)
			b.expect(t, i, verbs.Success)
		}
	})
}

// TestNotReadyBlocksNothing has both sides send what the other has no receive for, and then read: the
// responses must get past the messages that wait.
func TestNotReadyBlocksNothing(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		x, y := newEndOn(t, f, a.ctx, nil), newEndOn(t, f, b.ctx, nil)
		x.connect(t, y)
		y.connect(t, x)
		must(t, b.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled}))
		mem, out := b.reg(t, pattern(3000, 1), allRights), a.reg(t, make([]byte, 3000), verbs.LocalWrite)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 2, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{out.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
		a.expect(t, 2, verbs.Success)
		must(t, a.qp.PostRecv(verbs.RecvWR{ID: 3}))
		b.expect(t, 1, verbs.Success)
		a.expect(t, 3, verbs.Success)
	})
}

func TestBothSidesNotReady(t *testing.T) {
	a, b := rnrPair(t, plainFabrics[0], 1, 16)
	must(t, a.qp.PostSend(verbs.SendWR{ID: 1}))
	must(t, b.qp.PostSend(verbs.SendWR{ID: 2}))
	// Whoever gives up first leaves the other without an answer.
	for _, e := range []*end{a, b} {
		if wc := e.wait(t); wc.Status != verbs.RNRRetryExcErr && wc.Status != verbs.RetryExcErr {
			t.Errorf("completed with %v, want a retry counter exceeded", wc.Status)
		}
		e.reaches(t, verbs.Err)
	}
}

func TestPeerNotReady(t *testing.T) {
	for _, peerState := range []verbs.State{verbs.Reset, verbs.Init} {
		for _, op := range []verbs.Opcode{verbs.Send, verbs.Write, verbs.Read, verbs.FetchAdd, verbs.WriteImm} {
			t.Run(fmt.Sprintf("%v to a queue pair in %v", op, peerState), func(t *testing.T) {
				for _, f := range []fabricUnder{plainFabrics[0], allFabrics[2]} {
					a, b := newEnd(t, f), newEnd(t, f)
					at := attrFor(b)
					at.Timeout, at.RetryCnt = 9, 1 // 2 × 2.1 ms
					b.bring(t, attrFor(a), peerState)
					a.bring(t, at, verbs.RTS)
					mem, out := b.reg(t, make([]byte, 8), allRights), a.reg(t, make([]byte, 8), verbs.LocalWrite)
					start := time.Now()
					must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Opcode: op, SG: []verbs.SGE{out.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}, verbs.SendWR{ID: 2}))
					a.expect(t, 1, verbs.RetryExcErr)
					if took := time.Since(start); took < 4*time.Millisecond {
						t.Errorf("gave up after %v, want at least twice 2.1 ms", took)
					}
					a.expect(t, 2, verbs.WRFlushErr)
				}
			})
		}
	}
	t.Run("ready in time", func(t *testing.T) {
		eachFabric(t, func(t *testing.T, f fabricUnder) {
			a, b := newEnd(t, f), newEnd(t, f)
			a.connect(t, b)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled}))
			a.quiet(t, 2*time.Millisecond)
			b.bring(t, attrFor(a), verbs.Init)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 2}))
			b.bringFromInit(t, attrFor(a))
			b.expect(t, 2, verbs.Success)
			a.expect(t, 1, verbs.Success)
		})
	})
	t.Run("timeout 0 waits for ever", func(t *testing.T) {
		a, b := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
		at := attrFor(b)
		at.Timeout = 0
		a.bring(t, at, verbs.RTS)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1}))
		a.quiet(t, 20*time.Millisecond)
	})
	t.Run("went to ERR", func(t *testing.T) {
		eachFabric(t, func(t *testing.T, f fabricUnder) {
			a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.Timeout, at.RetryCnt = 8, 0 }, nil)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}))
			must(t, b.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
			b.expect(t, 1, verbs.WRFlushErr)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 2}, verbs.SendWR{ID: 3}))
			a.expect(t, 2, verbs.RetryExcErr)
			a.expect(t, 3, verbs.WRFlushErr)
		})
	})
}

// bringFromInit takes a queue pair from INIT to RTS.
func (e *end) bringFromInit(t testing.TB, a verbs.QPAttr) {
	t.Helper()
	a.State = verbs.RTR
	must(t, e.qp.Modify(a, maskRTR))
	a.State = verbs.RTS
	must(t, e.qp.Modify(a, maskRTS))
}
