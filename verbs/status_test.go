package verbs_test

import (
	"testing"

	"outboard/verbs"
	"outboard/verbs/fabric"
)

// statusRow produces one completion status by its real cause.
type statusRow struct {
	status verbs.Status
	cause  string
	run    func(t *testing.T, f fabricUnder) (got verbs.WC)
}

// absent are the statuses that no request of this device can end with, and why. The first seven belong to reliable datagrams
// and their end-to-end contexts (IBTA 9.7.8, 9.9.2), a service that no device offers any more.
var absent = map[verbs.Status]string{
	verbs.LocEECOpErr:    "reliable datagrams are not offered",
	verbs.LocRDDViolErr:  "reliable datagrams are not offered",
	verbs.RemInvRDReqErr: "reliable datagrams are not offered",
	verbs.RemAbortErr:    "reliable datagrams are not offered: only an end-to-end context aborts",
	verbs.InvEECNErr:     "reliable datagrams are not offered",
	verbs.InvEECStateErr: "reliable datagrams are not offered",
	verbs.RespTimeoutErr: "a responder answers at once or not at all: RETRY_EXC_ERR",
	verbs.LocAccessErr:   "the address of a local buffer is checked before the request begins: LOC_PROT_ERR",
	verbs.FatalErr:       "a wire that fails takes queue pairs to ERR as a peer that has gone does: RETRY_EXC_ERR",
	verbs.GeneralErr:     "there is no error without a status of its own",
}

// elsewhere are statuses whose tests are those of tag matching.
var elsewhere = map[verbs.Status]string{verbs.TMErr: "tm_test.go", verbs.TMRndvIncomplete: "tm_test.go"}

// sendOne connects a pair, posts wr, whose memory is n bytes, and returns its completion.
func sendOne(t *testing.T, f fabricUnder, n int, wr func(b *end) verbs.SendWR, recv ...verbs.RecvWR) (a, b *end, wc verbs.WC) {
	t.Helper()
	a, b = pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.RNRRetry, at.MinRNRTimer = 1, 1 }, nil)
	must(t, b.qp.PostRecv(recv...))
	src := a.reg(t, make([]byte, n), verbs.LocalWrite)
	w := wr(b)
	if w.SG == nil {
		w.SG = []verbs.SGE{src.sge()}
	}
	w.Flags |= verbs.Signaled
	must(t, a.qp.PostSend(w))
	return a, b, a.wait(t)
}

func plainSend(*end) verbs.SendWR { return verbs.SendWR{} }

var statuses = []statusRow{
	{verbs.Success, "a SEND", func(t *testing.T, f fabricUnder) verbs.WC {
		_, _, wc := sendOne(t, f, 0, plainSend, verbs.RecvWR{})
		return wc
	}},
	{verbs.LocLenErr, "a message longer than the receive, at the receiver", func(t *testing.T, f fabricUnder) verbs.WC {
		_, b, _ := sendOne(t, f, 8, plainSend, verbs.RecvWR{})
		return b.wait(t)
	}},
	{verbs.LocLenErr, "a datagram longer than the MTU", func(t *testing.T, f fabricUnder) verbs.WC {
		a := udEnd(t, f)
		src := a.reg(t, make([]byte, a.maxDatagram(t)+1), 0)
		must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}, UD: a.to(t, a)}))
		return a.wait(t)
	}},
	{verbs.LocQPOpErr, "an address handle of another protection domain", func(t *testing.T, f fabricUnder) verbs.WC {
		a := udEnd(t, f)
		other := newEndOn(t, f, a.ctx, nil)
		must(t, a.qp.PostSend(verbs.SendWR{UD: &verbs.UDDest{AH: other.handle(t, a), QPN: a.qp.QPN()}}))
		return a.wait(t)
	}},
	{verbs.LocProtErr, "a SEND with an unknown lkey", func(t *testing.T, f fabricUnder) verbs.WC {
		_, _, wc := sendOne(t, f, 0, func(*end) verbs.SendWR { return verbs.SendWR{SG: []verbs.SGE{{Buf: make([]byte, 8), LKey: 0x7700}}} }, verbs.RecvWR{})
		return wc
	}},
	{verbs.LocProtErr, "a READ into memory without local write", func(t *testing.T, f fabricUnder) verbs.WC {
		a, b := pair(t, f)
		mem, dst := b.reg(t, make([]byte, 8), allRights), a.reg(t, make([]byte, 8), 0)
		must(t, a.qp.PostSend(verbs.SendWR{Opcode: verbs.Read, SG: []verbs.SGE{dst.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
		return a.wait(t)
	}},
	{verbs.LocProtErr, "a receive with an unknown lkey, at the receiver", func(t *testing.T, f fabricUnder) verbs.WC {
		_, b, _ := sendOne(t, f, 8, plainSend, verbs.RecvWR{SG: []verbs.SGE{{Buf: make([]byte, 8), LKey: 0x7700}}})
		return b.wait(t)
	}},
	{verbs.WRFlushErr, "a request behind one that fails", func(t *testing.T, f fabricUnder) verbs.WC {
		a, _ := pair(t, f)
		must(t, a.qp.PostSend(badSend(t, a, 1), verbs.SendWR{}))
		a.expect(t, 1, verbs.LocProtErr)
		return a.wait(t)
	}},
	{verbs.WRFlushErr, "a receive of a queue pair that goes to ERR", func(t *testing.T, f fabricUnder) verbs.WC {
		a, _ := pair(t, f)
		must(t, a.qp.PostRecv(verbs.RecvWR{}))
		a.modify(t, verbs.QPAttr{State: verbs.Err}, verbs.AttrState)
		return a.wait(t)
	}},
	{verbs.MWBindErr, "a window on a region without the right to bind", func(t *testing.T, f fabricUnder) verbs.WC {
		a, _ := pair(t, f)
		mem := a.reg(t, make([]byte, 8), allRights)
		w, err := a.ctx.AllocMW(a.pd, verbs.MWType2)
		must(t, err)
		must(t, a.qp.PostSend(verbs.SendWR{Opcode: verbs.BindMW, Bind: &verbs.MWBind{MW: w, MR: mem.MR, Buf: mem.b, Access: verbs.RemoteRead, RKey: verbs.IncRKey(w.RKey())}}))
		return a.wait(t)
	}},
	{verbs.RemInvReqErr, "a message longer than the receive, at the sender", func(t *testing.T, f fabricUnder) verbs.WC {
		_, _, wc := sendOne(t, f, 8, plainSend, verbs.RecvWR{})
		return wc
	}},
	{verbs.RemInvReqErr, "a misaligned atomic", func(t *testing.T, f fabricUnder) verbs.WC {
		_, _, wc := sendOne(t, f, 8, func(b *end) verbs.SendWR {
			mem := b.reg(t, make([]byte, 16), allRights)
			return verbs.SendWR{Opcode: verbs.FetchAdd, RemoteAddr: mem.Addr() + 4, RKey: mem.RKey()}
		})
		return wc
	}},
	{verbs.RemAccessErr, "a WRITE with an unknown rkey", func(t *testing.T, f fabricUnder) verbs.WC {
		_, _, wc := sendOne(t, f, 8, func(*end) verbs.SendWR { return verbs.SendWR{Opcode: verbs.Write, RKey: 0x7700} })
		return wc
	}},
	{verbs.RemAccessErr, "a READ past the end of a region", func(t *testing.T, f fabricUnder) verbs.WC {
		_, _, wc := sendOne(t, f, 8, func(b *end) verbs.SendWR {
			mem := b.reg(t, make([]byte, 8), allRights)
			return verbs.SendWR{Opcode: verbs.Read, RemoteAddr: mem.Addr() + 1, RKey: mem.RKey()}
		})
		return wc
	}},
	{verbs.RemOpErr, "a receive with an unknown lkey, at the sender", func(t *testing.T, f fabricUnder) verbs.WC {
		_, _, wc := sendOne(t, f, 8, plainSend, verbs.RecvWR{SG: []verbs.SGE{{Buf: make([]byte, 8), LKey: 0x7700}}})
		return wc
	}},
	{verbs.RetryExcErr, "a peer that has gone", func(t *testing.T, f fabricUnder) verbs.WC {
		a, b := pair(t, f)
		must(t, b.ctx.Close())
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1}))
		wc := a.wait(t)
		if wc.Status == verbs.WRFlushErr { // this side had noticed before the post
			a, b = pair(t, f)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 1}))
			must(t, b.ctx.Close())
			wc = a.wait(t)
		}
		return wc
	}},
	{verbs.RetryExcErr, "a peer that never becomes ready", func(t *testing.T, f fabricUnder) verbs.WC {
		a, b := newEnd(t, f), newEnd(t, f)
		at := attrFor(b)
		at.Timeout, at.RetryCnt = 8, 1
		a.bring(t, at, verbs.RTS)
		must(t, a.qp.PostSend(verbs.SendWR{}))
		return a.wait(t)
	}},
	{verbs.RNRRetryExcErr, "a peer without receives", func(t *testing.T, f fabricUnder) verbs.WC {
		_, _, wc := sendOne(t, f, 0, plainSend)
		return wc
	}},
}

func TestEachStatus(t *testing.T) {
	for _, row := range statuses {
		t.Run(row.status.String()+"/"+row.cause, func(t *testing.T) {
			eachLossless(t, func(t *testing.T, f fabricUnder) {
				wc := row.run(t, f)
				if wc.Status != row.status {
					t.Fatalf("completed with %v (%s), want %v", wc.Status, wc.Detail, row.status)
				}
				if (wc.Detail == "") != (row.status == verbs.Success) {
					t.Errorf("detail %q of %v", wc.Detail, wc.Status)
				}
			})
		})
	}
}

// TestBadRespErr has a peer of the test's own answer with what fits no request.
func TestBadRespErr(t *testing.T) {
	p := newRawPeer(t)
	defer p.close(t)
	must(t, p.host.qp.PostSend(verbs.SendWR{ID: 3, SG: []verbs.SGE{p.recv.part(0, 8)}}))
	p.conn.Send(&fabric.Header{Op: 5, Flags: 2}, nil, nil) // a response to a read
	p.host.expect(t, 3, verbs.BadRespErr)
}

// TestStatusesAreComplete: each status has a row, or a reason why not.
func TestStatusesAreComplete(t *testing.T) {
	have := map[verbs.Status]bool{verbs.BadRespErr: true} // TestBadRespErr, TestBadResponses
	for _, row := range statuses {
		have[row.status] = true
	}
	for st := verbs.Success; st <= verbs.TMRndvIncomplete; st++ {
		n := 0
		for _, in := range []bool{have[st], absent[st] != "", elsewhere[st] != ""} {
			if in {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%v is in %d of the lists of what occurs, does not, and is tested elsewhere; want one", st, n)
		}
	}
}
