package verbs_test

import (
	"errors"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
)

// lost is what OnDown tells.
type lost struct {
	addr string
	qpn  uint32
	err  error
}

func nextOf[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}

// TestDown loses a queue pair, then the port, of a peer, and closes this side.
func TestDown(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		down := make(chan lost, 10)
		must(t, a.ctx.OnDown(func(addr string, qpn uint32, err error) { down <- lost{addr, qpn, err} }))
		wantErr(t, a.ctx.OnDown(func(string, uint32, error) {}), verbs.ErrBusy)
		must(t, a.ctx.SendMAD(b.ctx.Addr(), make([]byte, 256)))
		must(t, b.qp.Destroy())
		if l := nextOf(t, down); l.addr != b.ctx.Addr() || l.qpn != a.qp.QPN() || !errors.Is(l.err, fabric.ErrPeerClosed) {
			t.Errorf("told of %+v, want queue pair %#x", l, a.qp.QPN())
		}
		must(t, b.ctx.Close())
		if l := nextOf(t, down); l.addr != b.ctx.Addr() || l.qpn != 0 || !errors.Is(l.err, fabric.ErrPeerClosed) {
			t.Errorf("told of %+v, want port %s", l, b.ctx.Addr())
		}
		wantErr(t, a.ctx.SendMAD(b.ctx.Addr(), make([]byte, 256)), verbs.ErrUnresolved)
		must(t, a.ctx.Close())
		if l := nextOf(t, down); l.addr != "" || l.qpn != 0 || !errors.Is(l.err, verbs.ErrDestroyed) {
			t.Errorf("told of %+v, want the device", l)
		}
		wantErr(t, a.ctx.SendMAD(b.ctx.Addr(), make([]byte, 256)), verbs.ErrDestroyed)
		wantErr(t, a.ctx.OnMAD(nil), verbs.ErrDestroyed)
		wantErr(t, a.ctx.OnDown(nil), verbs.ErrDestroyed)
	})
}

// TestIntroductionIsLost loses the first packet of a lane, which says whose it is: the second datagram has an author again.
func TestIntroductionIsLost(t *testing.T) {
	p, err := faulty.Wrap(openInproc(t), faulty.Options{Inject: faulty.OnIndex(0, faulty.Drop)})
	must(t, err)
	a, err := verbs.Open(p)
	must(t, err)
	defer a.Close()
	b := newEnd(t, plainFabrics[0])
	came := make(chan byte, 2)
	must(t, b.ctx.OnMAD(func(_ string, mad []byte) { came <- mad[0] }))
	for i := range 2 {
		mad := make([]byte, 256)
		mad[0] = byte(i)
		must(t, a.SendMAD(b.ctx.Addr(), mad))
	}
	if i := nextOf(t, came); i != 1 {
		t.Errorf("datagram %d came, want the second only", i)
	}
}
