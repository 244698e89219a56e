package verbs_test

import (
	"context"
	"fmt"

	"outboard/verbs"
)

// A host that waits for completions and for something else.
func ExampleCompChannel_C() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	a, b := open(), openDevice(verbs.Options{})
	ch, err := b.ctx.CreateCompChannel()
	try(err)
	b.createQP(verbs.RC, ch) // its completion queue raises events on the channel
	a.connect(b.ctx.Addr(), b.qp.QPN())
	b.connect(a.ctx.Addr(), a.qp.QPN())
	defer func() { try(a.ctx.Close()); try(b.ctx.Close()) }()

	box := make([]byte, 8)
	mr := b.register(box)
	try(b.qp.PostRecv(verbs.RecvWR{ID: 7, SG: []verbs.SGE{{Buf: box, LKey: mr.LKey()}}}))

	// Arm before anything can complete.
	try(b.cq.ReqNotify(false))

	try(a.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Inline, SG: []verbs.SGE{{Buf: []byte("ping")}}}))

	for {
		select {
		case <-ctx.Done():
			fmt.Println("stopped")
			return
		case <-ch.C(): // there are events, one or many
		}
		for q, ok := ch.TryGet(); ok; q, ok = ch.TryGet() {
			// Its event has disarmed the queue. Arm it first and empty it then: what completes between the two raises an
			// event, but what is in the queue when it is armed never does.
			try(q.ReqNotify(false))
			for wc := range q.All() {
				fmt.Printf("request %d: %q, %v\n", wc.ID, box[:wc.Bytes], wc.Status)
				stop()
			}
		}
	}
	// Output:
	// request 7: "ping", verbs: success
	// stopped
}
