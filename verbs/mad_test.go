package verbs_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
)

// madOf is a management datagram with a mark.
func madOf(mark byte) []byte { return append([]byte{mark}, pattern(255, mark)...) }

type arrivedMAD struct {
	from string
	mad  []byte
}

// takeMADs has a context queue what comes to its queue pair 1.
func takeMADs(t testing.TB, c *verbs.Context) <-chan arrivedMAD {
	t.Helper()
	ch := make(chan arrivedMAD, 16)
	must(t, c.OnMAD(func(from string, mad []byte) { ch <- arrivedMAD{from, bytes.Clone(mad)} }))
	return ch
}

func TestMADRoundTrip(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := f.context(t), f.context(t)
		atA, atB := takeMADs(t, a), takeMADs(t, b)
		for i, c := range []struct {
			from, to *verbs.Context
			at       <-chan arrivedMAD
		}{{a, b, atB}, {b, a, atA}, {a, a, atA}, {a, b, atB}} {
			want := madOf(byte(i))
			must(t, c.from.SendMAD(c.to.Addr(), want))
			select {
			case got := <-c.at: // nobody polls either NIC
				if got.from != c.from.Addr() || !bytes.Equal(got.mad, want) {
					t.Errorf("datagram %d came from %q, want %q, or has other bytes", i, got.from, c.from.Addr())
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("datagram %d does not come", i)
			}
		}
	})
}

func TestMADTaker(t *testing.T) {
	a, b := plainFabrics[0].context(t), plainFabrics[0].context(t)
	// Nobody takes it: it is dropped, and not kept for who comes later.
	must(t, a.SendMAD(b.Addr(), madOf(1)))
	for end := time.Now().Add(5 * time.Second); b.HWCounters().Dropped == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the datagram has not been dropped")
		}
	}
	at := takeMADs(t, b)
	wantErr(t, b.OnMAD(func(string, []byte) {}), verbs.ErrBusy)
	must(t, a.SendMAD(b.Addr(), madOf(2)))
	if got := <-at; got.mad[0] != 2 {
		t.Errorf("datagram %d, want 2", got.mad[0])
	}
	must(t, b.OnMAD(nil))
	must(t, b.OnMAD(nil))
	later := takeMADs(t, b)
	must(t, a.SendMAD(b.Addr(), madOf(3)))
	if got := <-later; got.mad[0] != 3 || len(at) != 0 {
		t.Errorf("datagram %d, and %d for the taker that has left, want 3 and none", got.mad[0], len(at))
	}
}

func TestMADRefusals(t *testing.T) {
	a := plainFabrics[0].context(t)
	for _, n := range []int{0, 255, 257} {
		wantErr(t, a.SendMAD(a.Addr(), make([]byte, n)), verbs.ErrInvalid)
	}
	wantErr(t, a.SendMAD("", madOf(0)), verbs.ErrInvalid)
	wantErr(t, a.SendMAD(strings.Repeat("x", 201), madOf(0)), verbs.ErrInvalid)
	must(t, a.Close())
	wantErr(t, a.SendMAD(a.Addr(), madOf(0)), verbs.ErrDestroyed)
	wantErr(t, a.OnMAD(nil), verbs.ErrDestroyed)
}

// TestMADIsNotForUsers: a queue pair of UD reaches queue pair 1 only with its Q_Key, which users cannot claim.
func TestMADIsNotForUsers(t *testing.T) {
	const gsiQKey = 0x80010000
	f := plainFabrics[0]
	a, b := udEnd(t, f), f.context(t)
	at := takeMADs(t, b)
	ah, err := a.ctx.CreateAH(a.pd, verbs.AHAttr{Addr: b.Addr(), Port: 1})
	must(t, err)
	src := a.reg(t, madOf(1), 0)
	dest := verbs.UDDest{AH: ah, QPN: 1, QKey: gsiQKey}
	must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, UD: &dest}))
	a.expect(t, 1, verbs.Success)
	a.modify(t, verbs.QPAttr{QKey: gsiQKey}, qkey) // as a privileged one may
	must(t, a.qp.PostSend(verbs.SendWR{ID: 2, Flags: verbs.Signaled, SG: []verbs.SGE{src.part(0, 255)}, UD: &dest}))
	a.expect(t, 2, verbs.Success) // of another length
	must(t, a.qp.PostSend(verbs.SendWR{ID: 3, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, UD: &dest}))
	a.expect(t, 3, verbs.Success)
	if got := <-at; got.mad[0] != 1 || got.from != a.ctx.Addr() {
		t.Errorf("datagram %d from %q", got.mad[0], got.from)
	}
	if n := b.HWCounters().Dropped; n != 2 || len(at) != 0 {
		t.Errorf("%d dropped and %d more taken, want 2 and none", n, len(at))
	}
}

// TestMADFromNewcomer: however many ports a context has heard of, it hears of one more, and answers it; and it still knows itself.
func TestMADFromNewcomer(t *testing.T) {
	const opHello = 11
	server, port := plainFabrics[0].context(t), openInproc(t)
	defer port.Close()
	conn, err := port.Open(fabric.Any, 0)
	must(t, err)
	must(t, conn.Connect(server.Addr(), -1))
	at := takeMADs(t, server)
	var last *verbs.Context
	for i := range 3 {
		for n := range 5000 {
			for !conn.Send(&fabric.Header{Op: opHello}, fmt.Appendf(nil, "inproc:%d.%d", i, n), nil) {
				time.Sleep(10 * time.Microsecond) // its own goroutine runs the NIC
			}
		}
		last = plainFabrics[0].context(t)
		for _, from := range []*verbs.Context{last, server} {
			must(t, from.SendMAD(server.Addr(), madOf(byte(i))))
			select {
			case got := <-at:
				if got.from != from.Addr() || got.mad[0] != byte(i) {
					t.Errorf("round %d: datagram %d of %q, want one of %q", i, got.mad[0], got.from, from.Addr())
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("round %d: the datagram of %q is not heard", i, from.Addr())
			}
		}
	}
	pd, err := server.AllocPD()
	must(t, err)
	_, err = server.CreateAH(pd, verbs.AHAttr{DGID: ib.GIDOf(last.Addr()), Port: verbs.PortNum})
	must(t, err)
	_, err = server.CreateAH(pd, verbs.AHAttr{DGID: ib.GIDOf("inproc:0.0"), Port: verbs.PortNum})
	wantErr(t, err, verbs.ErrUnresolved)
}
