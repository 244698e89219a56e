package cm

import (
	"bytes"
	"testing"

	"outboard/verbs"
)

func TestConnect(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, w wire) {
		a, b := newNode(t, w), newNode(t, w)
		for _, address := range []string{":0", At(b.dev.Addr(), 0)} {
			l := listen(t, b, address)
			ca, cb := connect(t, a, b, l)
			speak(t, a, b, ca, cb, "to the one who listens")
			speak(t, b, a, cb, ca, "and back")
			wantEvent(t, ca, Established)
			wantEvent(t, cb, Established)
			must(t, ca.Disconnect())
			wantEvent(t, ca, Disconnected)
			wantEvent(t, cb, Disconnected)
			for side, c := range []*Conn{ca, cb} {
				<-c.Done()
				if err := c.Err(); err != nil || qpState(c) != verbs.Err {
					t.Errorf("side %d ended with %v, its queue pair in %v", side, err, qpState(c))
				}
				wantEvent(t, c, TimewaitExit)
				must(t, c.Close())
				must(t, c.Close())
			}
			must(t, l.Close())
		}
	})
}

func TestPrivateDataAndParameters(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, w wire) {
		a, b := newNode(t, w), newNode(t, w)
		l := local(t, b)
		request, answer := bytes.Repeat([]byte("r"), MaxRequestData), []byte("short")
		pa, pb := a.params(), b.params()
		pa.PrivateData, pb.PrivateData = request, answer
		pa.Conn = &ConnParam{ResponderResources: 3, InitiatorDepth: 9, RetryCount: 5, RNRRetryCount: 2}
		pb.Conn = &ConnParam{ResponderResources: 4, InitiatorDepth: MaxDepth, RetryCount: 1, RNRRetryCount: 6}
		pa.MTU = 512
		done := make(chan *Conn, 1)
		go func() {
			defer close(done)
			r, err := l.Accept(soon(t))
			if err != nil {
				t.Error(err)
				return
			}
			if !bytes.Equal(r.PrivateData(), request) || r.RemoteAddr() != a.dev.Addr() || r.MTU() != 512 || r.Type() != verbs.RC {
				t.Errorf("request of %s: %q, MTU %d, %v", r.RemoteAddr(), r.PrivateData(), r.MTU(), r.Type())
			}
			if got, want := r.Param(), (ConnParam{ResponderResources: 9, InitiatorDepth: 3, RetryCount: 5, RNRRetryCount: 2}); got != want {
				t.Errorf("request for %+v, want %+v", got, want)
			}
			c, err := r.Accept(soon(t), pb)
			if err != nil {
				t.Error(err)
				return
			}
			done <- c
		}()
		ca, err := Dial(soon(t), a.dev, l.Addr(), pa)
		must(t, err)
		defer ca.Close()
		cb := <-done
		if cb == nil {
			return
		}
		defer cb.Close()
		if want := append(answer, make([]byte, MaxAcceptData-len(answer))...); !bytes.Equal(ca.PrivateData(), want) {
			t.Errorf("answered with %q", ca.PrivateData())
		}
		qa, _ := ca.QP().Query()
		qb, _ := cb.QP().Query()
		for _, x := range []struct {
			what      string
			got, want uint32
		}{
			{"MTU of the one who dials", uint32(qa.PathMTU), 512}, {"MTU", uint32(qb.PathMTU), 512},
			{"queue pair", qa.DestQPN, cb.QP().QPN()}, {"queue pair of the one who dials", qb.DestQPN, ca.QP().QPN()},
			{"PSN", qa.SQPSN, qb.RQPSN}, {"PSN back", qb.SQPSN, qa.RQPSN},
			{"reads of the one who dials", uint32(qa.MaxRdAtomic), 4}, {"that are served", uint32(qb.MaxDestRdAtomic), 4},
			{"reads back", uint32(qb.MaxRdAtomic), 3}, {"that are served", uint32(qa.MaxDestRdAtomic), 3},
			{"retries", uint32(qa.RetryCnt), 5}, {"retries back", uint32(qb.RetryCnt), 5},
			{"RNR retries", uint32(qa.RNRRetry), 6}, {"RNR retries back", uint32(qb.RNRRetry), 2},
			{"state", uint32(qa.State), uint32(verbs.RTS)}, {"state", uint32(qb.State), uint32(verbs.RTS)},
		} {
			if x.got != x.want {
				t.Errorf("%s: %d, want %d", x.what, x.got, x.want)
			}
		}
	})
}
