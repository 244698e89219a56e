package verbs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

// A fabricUnder is a wire that the conformance tests run over.
type fabricUnder struct {
	name   string
	open   func(t testing.TB) fabric.Port
	device bool // regions lie in memory of AllocMem
	opts   verbs.Options
	lossy  bool
}

// context opens a device on the wire.
func (f fabricUnder) context(t testing.TB) *verbs.Context {
	t.Helper()
	ctx, err := verbs.OpenWith(f.open(t), f.opts)
	must(t, err)
	t.Cleanup(func() { ctx.Close() })
	return ctx
}

var testSwitch = inproc.New()

func openInproc(t testing.TB) fabric.Port {
	t.Helper()
	p, err := testSwitch.Open(inproc.Options{})
	must(t, err)
	return p
}

func openShm(t testing.TB) fabric.Port {
	t.Helper()
	p, err := shm.Open(shm.Options{})
	must(t, err)
	return p
}

// plainFabrics are the wires as they are.
var plainFabrics = []fabricUnder{{name: "inproc", open: openInproc}, {name: "shm", open: openShm}}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// end is one side of a connection.
type end struct {
	ctx *verbs.Context
	pd  *verbs.PD
	cq  *verbs.CQ
	qp  *verbs.QP
	f   fabricUnder
}

const allRights = verbs.LocalWrite | verbs.RemoteRead | verbs.RemoteWrite | verbs.RemoteAtomic

var defaultCap = verbs.QPCap{SendWR: 64, RecvWR: 64, SendSGE: 4, RecvSGE: 4, Inline: 128}

func newEnd(t testing.TB, f fabricUnder) *end {
	t.Helper()
	return newEndOn(t, f, f.context(t), nil)
}

// newEndOn is one more side on a context; change, unless nil, adjusts how its queue pair is made.
func newEndOn(t testing.TB, f fabricUnder, ctx *verbs.Context, change func(*verbs.QPInit)) *end {
	t.Helper()
	e := &end{ctx: ctx, f: f}
	var err error
	e.pd, err = ctx.AllocPD()
	must(t, err)
	e.cq, err = ctx.CreateCQ(256, nil)
	must(t, err)
	in := verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq, Cap: defaultCap}
	if change != nil {
		change(&in)
	}
	e.qp, err = ctx.CreateQP(e.pd, in)
	must(t, err)
	return e
}

// attrFor are the attributes that connect e with peer.
func attrFor(peer *end) verbs.QPAttr {
	a := verbs.QPAttr{Port: 1, Access: allRights, AV: peer.ctx.Addr(), PathMTU: 1024, DestQPN: peer.qp.QPN(),
		MaxRdAtomic: 4, MaxDestRdAtomic: 4, RNRRetry: 7, Timeout: 14, RetryCnt: 7}
	if peer.f.lossy {
		a.Timeout = 11 // 8 ms: some will pass, and the peer has to be on a processor in one of eight
	}
	return a
}

const (
	maskInit = verbs.AttrState | verbs.AttrPKeyIndex | verbs.AttrPort | verbs.AttrAccess
	maskRTR  = verbs.AttrState | verbs.AttrAV | verbs.AttrPathMTU | verbs.AttrDestQPN | verbs.AttrRQPSN | verbs.AttrMaxDestRdAtomic | verbs.AttrMinRNRTimer
	maskRTS  = verbs.AttrState | verbs.AttrSQPSN | verbs.AttrTimeout | verbs.AttrRetryCnt | verbs.AttrRNRRetry | verbs.AttrMaxRdAtomic
)

// bring takes e's queue pair from RESET up to a state.
func (e *end) bring(t testing.TB, a verbs.QPAttr, to verbs.State) {
	t.Helper()
	for _, s := range []struct {
		to   verbs.State
		mask verbs.AttrMask
	}{{verbs.Init, maskInit}, {verbs.RTR, maskRTR}, {verbs.RTS, maskRTS}} {
		if s.to <= to {
			a.State = s.to
			must(t, e.qp.Modify(a, s.mask))
		}
	}
}

func (e *end) connect(t testing.TB, peer *end) {
	t.Helper()
	e.bring(t, attrFor(peer), verbs.RTS)
}

func (e *end) state() verbs.State {
	a, _ := e.qp.Query()
	return a.State
}

func pair(t testing.TB, f fabricUnder) (a, b *end) {
	t.Helper()
	return pairWith(t, f, nil, nil)
}

// pairWith connects two ends whose attributes and queue pairs are adjusted first.
func pairWith(t testing.TB, f fabricUnder, attr func(side int, a *verbs.QPAttr), init func(*verbs.QPInit)) (a, b *end) {
	t.Helper()
	make1 := func() *end { return newEndOn(t, f, f.context(t), init) }
	a, b = make1(), make1()
	for side, e := range []*end{a, b} {
		at := attrFor([]*end{b, a}[side])
		if attr != nil {
			attr(side, &at)
		}
		e.bring(t, at, verbs.RTS)
	}
	return a, b
}

// region is registered memory.
type region struct {
	*verbs.MR
	b []byte
}

func (r region) sge() verbs.SGE            { return verbs.SGE{Buf: r.b, LKey: r.LKey()} }
func (r region) part(off, n int) verbs.SGE { return verbs.SGE{Buf: r.b[off : off+n], LKey: r.LKey()} }

// reg registers a copy of b, in the kind of memory that the wire under test uses.
func (e *end) reg(t testing.TB, b []byte, access verbs.Access) region {
	t.Helper()
	mem := append([]byte(nil), b...)
	if e.f.device && len(b) > 0 {
		var err error
		mem, err = e.ctx.AllocMem(len(b))
		must(t, err)
		copy(mem, b)
	}
	mr, err := e.ctx.RegMR(e.pd, mem, access)
	must(t, err)
	return region{mr, mem}
}

// wait returns the next completion.
func (e *end) wait(t testing.TB) verbs.WC {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var wc [1]verbs.WC
	if _, err := e.cq.Wait(ctx, wc[:]); err != nil {
		t.Fatalf("waiting for a completion: %v", err)
	}
	return wc[0]
}

// expect waits for the next completion and checks its request and status.
func (e *end) expect(t testing.TB, id uint64, st verbs.Status) verbs.WC {
	t.Helper()
	wc := e.wait(t)
	if wc.ID != id || wc.Status != st {
		t.Fatalf("completion of request %d with %v (%s), want request %d with %v", wc.ID, wc.Status, wc.Detail, id, st)
	}
	return wc
}

// sync orders the test behind what e's NIC did for its peer, for the race detector, which does not see order that
// comes through memory shared between processes.
func (e *end) sync() { e.state() }

// quiet checks that no completion is there, or comes within d.
func (e *end) quiet(t testing.TB, d time.Duration) {
	t.Helper()
	var wc [1]verbs.WC
	for end := time.Now().Add(d); ; time.Sleep(100 * time.Microsecond) {
		if n, err := e.cq.Poll(wc[:]); n != 0 || err != nil {
			t.Fatalf("completion %+v, error %v, want none", wc[0], err)
		}
		if time.Now().After(end) {
			return
		}
	}
}

// reaches waits for a state.
func (e *end) reaches(t testing.TB, want verbs.State) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); e.state() != want; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("queue pair in %v, want %v", e.state(), want)
		}
	}
}

// wantErr checks the sentinel and the kind of an error.
func wantErr(t testing.TB, err, want error) {
	t.Helper()
	var e *verbs.Error
	if !errors.Is(err, want) || !errors.As(err, &e) {
		t.Fatalf("error %v, want a *verbs.Error that is %q", err, want)
	}
}

// pattern is n bytes that depend on seed.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7+i>>8) ^ seed
	}
	return b
}
