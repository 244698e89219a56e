package verbs_test

import (
	"testing"

	"outboard/verbs"
)

// TestDestroyOrder: an object is busy until all that is made of it is destroyed, and destroyed once.
func TestDestroyOrder(t *testing.T) {
	ctx := plainFabrics[0].context(t)
	pd, err := ctx.AllocPD()
	must(t, err)
	ch, err := ctx.CreateCompChannel()
	must(t, err)
	sendCQ, err := ctx.CreateCQ(4, ch)
	must(t, err)
	recvCQ, err := ctx.CreateCQ(4, nil)
	must(t, err)
	srq, err := ctx.CreateSRQ(pd, someSRQ)
	must(t, err)
	ah, err := ctx.CreateAH(pd, verbs.AHAttr{Addr: ctx.Addr(), Port: 1})
	must(t, err)
	mr, err := ctx.RegMR(pd, make([]byte, 8), allRights|verbs.MWBindAccess)
	must(t, err)
	mw, err := ctx.AllocMW(pd, verbs.MWType2)
	must(t, err)
	var qps []*verbs.QP
	for _, typ := range qpTypes {
		qp, err := ctx.CreateQP(pd, verbs.QPInit{Type: typ, SendCQ: sendCQ, RecvCQ: recvCQ, SRQ: srq, Cap: defaultCap})
		must(t, err)
		qps = append(qps, qp)
	}
	must(t, srq.PostRecv(verbs.RecvWR{SG: []verbs.SGE{{Buf: make([]byte, 8), LKey: mr.LKey()}}}))

	type object struct {
		name    string
		destroy func() error
	}
	live := []object{{"domain", pd.Dealloc}, {"send completion queue", sendCQ.Destroy}, {"receive completion queue", recvCQ.Destroy},
		{"shared receive queue", srq.Destroy}, {"region", mr.Dereg}}
	busy := func(until int) { // those from until on are free of users
		t.Helper()
		for _, o := range live[:until] {
			if err := o.destroy(); err == nil {
				t.Fatalf("the %s was destroyed while in use", o.name)
			} else {
				wantErr(t, err, verbs.ErrBusy)
			}
		}
	}
	end := func(name string, destroy func() error) {
		t.Helper()
		if err := destroy(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantErr(t, destroy(), verbs.ErrDestroyed)
	}
	for _, qp := range qps {
		busy(len(live))
		end("queue pair", qp.Destroy)
	}
	wantErr(t, pd.Dealloc(), verbs.ErrBusy)
	wantErr(t, mr.Dereg(), verbs.ErrBusy) // a receive in the shared queue names it
	end("shared receive queue", srq.Destroy)
	for _, o := range []object{{"region", mr.Dereg}, {"window", mw.Dealloc}, {"address handle", ah.Destroy}} {
		wantErr(t, pd.Dealloc(), verbs.ErrBusy)
		end(o.name, o.destroy)
	}
	for _, o := range []object{{"domain", pd.Dealloc}, {"send completion queue", sendCQ.Destroy}, {"receive completion queue", recvCQ.Destroy}, {"channel", ch.Close}, {"device", ctx.Close}} {
		end(o.name, o.destroy)
	}
}

// TestUseAfterDestroy calls what each object has when it has been destroyed, or its context closed.
func TestUseAfterDestroy(t *testing.T) {
	wc := make([]verbs.WC, 1)
	for _, closed := range []bool{false, true} {
		name := map[bool]string{false: "object destroyed", true: "context closed"}[closed]
		t.Run(name, func(t *testing.T) {
			e := udEnd(t, plainFabrics[0])
			srq := e.newSRQ(t, someSRQ)
			ah := e.handle(t, e)
			must(t, srq.PostRecv(verbs.RecvWR{}))
			gid, err := e.ctx.QueryGID(1, 1)
			must(t, err)
			grh := append(append(make([]byte, 8), gid[:]...), gid[:]...)
			if closed {
				must(t, e.ctx.Close())
			} else {
				for _, destroy := range []func() error{e.qp.Destroy, srq.Destroy, ah.Destroy, e.cq.Destroy, e.pd.Dealloc} {
					must(t, destroy())
				}
			}
			for call, err := range map[string]error{
				"post_send":     e.qp.PostSend(verbs.SendWR{}),
				"post_recv":     e.qp.PostRecv(verbs.RecvWR{}),
				"modify_qp":     e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState),
				"destroy_qp":    e.qp.Destroy(),
				"post_srq_recv": srq.PostRecv(verbs.RecvWR{}),
				"modify_srq":    srq.Modify(verbs.SRQInit{MaxWR: 5}, verbs.SRQMaxWR),
				"query_srq":     second(srq.Query()),
				"query_ah":      second(ah.Query()),
				"poll_cq":       second(e.cq.Poll(wc)),
				"wait":          second(e.cq.Wait(t.Context(), wc)),
			} {
				t.Run(call, func(t *testing.T) { wantErr(t, err, verbs.ErrDestroyed) })
			}
			if closed { // all went with it
				for _, destroy := range []func() error{srq.Destroy, ah.Destroy} {
					wantErr(t, destroy(), verbs.ErrDestroyed)
				}
				for call, err := range map[string]error{
					"create_srq":    second(e.ctx.CreateSRQ(e.pd, someSRQ)),
					"create_ah":     second(e.ctx.CreateAH(e.pd, verbs.AHAttr{Addr: "x", Port: 1})),
					"create_qp":     second(e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq})),
					"get_event":     second(e.ctx.GetEvent(t.Context())),
					"send_mad":      e.ctx.SendMAD("x", madOf(0)),
					"ah of a reply": second(e.ctx.CreateAHFromWC(e.pd, 1, &verbs.WC{Flags: verbs.WithGRH}, grh)),
				} {
					t.Run(call, func(t *testing.T) { wantErr(t, err, verbs.ErrDestroyed) })
				}
			} else {
				for call, err := range map[string]error{
					"create_srq": second(e.ctx.CreateSRQ(e.pd, someSRQ)),
					"create_ah":  second(e.ctx.CreateAH(e.pd, verbs.AHAttr{Addr: "x", Port: 1})),
					"create_qp":  second(e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq})),
				} {
					t.Run(call+" of the dead", func(t *testing.T) { wantErr(t, err, verbs.ErrInvalid) })
				}
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }
