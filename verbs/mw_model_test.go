package verbs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs"
)

// The model of what keys reach: plain values that say which bytes, for whom. A program registers, changes, binds, invalidates
// and accesses; each step must end as the model says, and the memory be what it says.

const (
	keyBlock   = 96 // bytes of each of the two blocks of memory
	keyRegions = 3
	keyWindows = 4 // two of either type
)

// extent is a part of a block.
type extent struct{ block, off, n int }

type keyRegion struct {
	mr *verbs.MR // nil if there is none
	extent
	pd, windows int
	access      verbs.Access
}

type keyWindow struct {
	mw     *verbs.MW // nil if there is none
	typ    verbs.MWType
	key    uint32
	bound  bool
	region int
	extent
	conn   int // of type 2
	access verbs.Access
}

// keyMachine is the responder's side under test, with the model of it.
type keyMachine struct {
	t       *testing.T
	r       *rig
	idle    [2]*verbs.CQ // of either side, with nothing in them
	pds     [2]*verbs.PD // the connections are of the first
	mem     [2][]byte
	want    [2][]byte
	regions [keyRegions]keyRegion
	windows [keyWindows]keyWindow
	stale   []uint32 // keys that were good once
	seed    byte
}

func newKeyMachine(t *testing.T, ra, rb *end) *keyMachine {
	m := &keyMachine{t: t, r: &rig{}, idle: [2]*verbs.CQ{ra.cq, rb.cq}}
	for i := range m.r.a {
		m.r.a[i], m.r.b[i] = ra.sibling(t), rb.sibling(t)
	}
	m.connect(0)
	m.connect(1)
	m.pds[0] = rb.pd
	var err error
	m.pds[1], err = rb.ctx.AllocPD()
	must(t, err)
	for i := range m.mem {
		m.mem[i] = make([]byte, keyBlock)
		if rb.f.device {
			m.mem[i], err = rb.ctx.AllocMem(keyBlock)
			must(t, err)
		}
		m.want[i] = make([]byte, keyBlock)
	}
	return m
}

func (m *keyMachine) connect(i int) {
	m.r.a[i].connectSoon(m.t, m.r.b[i])
	m.r.b[i].connectSoon(m.t, m.r.a[i])
}

// expect waits for the completion of a request of e. It runs both NICs, so as not to wait for their progress goroutines.
func (m *keyMachine) expect(e *end, id uint64, st verbs.Status) verbs.WC {
	m.t.Helper()
	var wc [1]verbs.WC
	for until := time.Now().Add(10 * time.Second); ; {
		n, err := e.cq.Poll(wc[:])
		must(m.t, err)
		switch {
		case n > 0 && st != verbs.Success && e.refusalLost(wc[0]):
			return wc[0]
		case n > 0 && (wc[0].ID != id || wc[0].Status != st):
			m.t.Fatalf("completion of request %d with %v (%s), want request %d with %v", wc[0].ID, wc[0].Status, wc[0].Detail, id, st)
		case n > 0:
			return wc[0]
		case time.Now().After(until):
			m.t.Fatalf("no completion of request %d", id)
		}
		m.run()
	}
}

// run runs the NICs.
func (m *keyMachine) run() {
	for _, q := range []*verbs.CQ{m.idle[0], m.idle[1]} {
		_, err := q.Poll(nil)
		must(m.t, err)
	}
}

// failed takes a connection back from ERR: half of the time with new queue pairs, which ends the windows of the old one.
func (m *keyMachine) failed(i int, anew bool) {
	if !anew {
		m.r.reconnect(m.t, i)
		for _, e := range []*end{m.r.a[i], m.r.b[i]} {
			for n := 1; n > 0; { // what was flushed
				n, _ = e.cq.Poll(make([]verbs.WC, 8))
			}
		}
		return
	}
	for _, e := range []**end{&m.r.a[i], &m.r.b[i]} {
		must(m.t, (*e).qp.Destroy())
		must(m.t, (*e).cq.Destroy())
		*e = (*e).sibling(m.t)
	}
	m.connect(i)
	for w := range m.windows {
		if k := &m.windows[w]; k.bound && k.typ == verbs.MWType2 && k.conn == i {
			m.unbind(k)
		}
	}
}

func (m *keyMachine) unbind(k *keyWindow) {
	if k.bound {
		m.regions[k.region].windows--
		k.bound = false
		m.stale = append(m.stale, k.key)
	}
}

func (m *keyMachine) slice(x extent) []byte { return m.mem[x.block][x.off : x.off+x.n] }

func drawExtent(t *rapid.T, empty bool) extent {
	x := extent{block: rapid.IntRange(0, 1).Draw(t, "block"), off: rapid.IntRange(0, keyBlock/8-1).Draw(t, "word") * 8}
	least := 1
	if empty {
		least = 0
	}
	x.n = rapid.IntRange(least, keyBlock-x.off).Draw(t, "bytes")
	return x
}

var keyRights = []verbs.Access{allRights, allRights | verbs.MWBindAccess, verbs.LocalWrite | verbs.MWBindAccess, verbs.RemoteRead | verbs.MWBindAccess,
	verbs.RemoteRead, 0, verbs.LocalWrite, allRights | verbs.ZeroBased, allRights | verbs.ZeroBased | verbs.MWBindAccess, verbs.LocalWrite | verbs.RemoteWrite | verbs.RelaxedOrdering,
	verbs.RemoteWrite, verbs.RemoteAtomic | verbs.RemoteRead, 1 << 10}

// goodRights tells whether a region can have the rights.
func goodRights(a verbs.Access) bool {
	return a < 1<<10 && (a&(verbs.RemoteWrite|verbs.RemoteAtomic) == 0 || a&verbs.LocalWrite != 0)
}

// ends checks an error against the sentinel that the model expects, nil for none.
func (m *keyMachine) ends(what string, err, want error) {
	m.t.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		m.t.Fatalf("%s gave %v, want %v", what, err, want)
	}
}

// register registers region i, registers it again, or ends it.
func (m *keyMachine) register(t *rapid.T) {
	k := &m.regions[rapid.IntRange(0, keyRegions-1).Draw(t, "region")]
	next := keyRegion{extent: drawExtent(t, true), pd: 0, access: allRights | verbs.MWBindAccess}
	if rapid.Bool().Draw(t, "other rights") {
		next.access = rapid.SampledFrom(keyRights).Draw(t, "rights")
	}
	if rapid.IntRange(0, 5).Draw(t, "other domain") == 0 {
		next.pd = 1
	}
	var want error
	if k.mr == nil {
		if !goodRights(next.access) {
			want = verbs.ErrInvalid
		}
		mr, err := m.r.b[0].ctx.RegMR(m.pds[next.pd], m.slice(next.extent), next.access)
		if m.ends("reg_mr", err, want); err == nil {
			next.mr = mr
			*k = next
		}
		return
	}
	if k.windows > 0 {
		want = verbs.ErrBusy
	}
	old := k.mr.RKey()
	if rapid.IntRange(0, 3).Draw(t, "deregister") == 0 {
		if m.ends("dereg_mr", k.mr.Dereg(), want); want == nil {
			*k = keyRegion{}
			m.stale = append(m.stale, old)
		}
		return
	}
	mask := verbs.ReregMask(rapid.IntRange(1, 7).Draw(t, "mask"))
	access := next.access
	if mask&verbs.ReregAccess == 0 {
		access, next.access = 0, k.access
	}
	if mask&verbs.ReregPD == 0 {
		next.pd = k.pd
	}
	if mask&verbs.ReregTranslation == 0 {
		next.extent = k.extent
	}
	if want == nil && !goodRights(next.access) {
		want = verbs.ErrInvalid
	}
	err := k.mr.Rereg(mask, m.pds[next.pd], m.slice(next.extent), access)
	m.ends("rereg_mr", err, want)
	if err != nil {
		if k.mr.RKey() != old {
			m.t.Fatalf("key %#x after %#x and a failure", k.mr.RKey(), old)
		}
		return
	}
	next.mr = k.mr
	*k = next
	m.stale = append(m.stale, old)
}

// deallocate ends a window.
func (m *keyMachine) deallocate(t *rapid.T) {
	if k := m.window(t); rapid.Bool().Draw(t, "really") {
		must(m.t, k.mw.Dealloc())
		m.unbind(k)
		k.mw = nil
	}
}

// window draws a window, which it allocates if need be.
func (m *keyMachine) window(t *rapid.T) *keyWindow {
	i := rapid.IntRange(0, keyWindows-1).Draw(t, "window")
	k := &m.windows[i]
	if k.mw != nil {
		return k
	}
	typ := bothTypes[i%2]
	*k = keyWindow{mw: m.r.b[0].newWindow(m.t, typ), typ: typ}
	k.key = k.mw.RKey()
	m.stale = append(m.stale, k.key)
	return k
}

// bindWindow binds a window to a part of a region, mostly one that works.
func (m *keyMachine) bindWindow(t *rapid.T) {
	k := m.window(t)
	often := rapid.IntRange(0, 7).Draw(t, "try what fails") > 0
	if often && k.bound && k.typ == verbs.MWType2 {
		return
	}
	region := rapid.IntRange(0, keyRegions-1).Draw(t, "region")
	for i := range m.regions {
		if g := &m.regions[i]; often && g.mr != nil && g.pd == 0 && g.access&verbs.MWBindAccess != 0 && g.access&verbs.ZeroBased == 0 {
			region = i
		}
	}
	g := &m.regions[region]
	conn := rapid.IntRange(0, 1).Draw(t, "connection")
	x := drawExtent(t, k.typ == verbs.MWType1)
	if rapid.IntRange(0, 7).Draw(t, "inside") > 0 && g.n > 0 {
		x = extent{block: g.block, off: g.off + rapid.IntRange(0, g.n-1).Draw(t, "offset")}
		x.n = rapid.IntRange(1, g.off+g.n-x.off).Draw(t, "bytes inside")
	}
	access := verbs.Access(rapid.IntRange(0, 7).Draw(t, "window's rights")) << 1
	if often && g.access&verbs.LocalWrite == 0 {
		access &= verbs.RemoteRead
	}
	if k.typ == verbs.MWType2 && rapid.Bool().Draw(t, "zero-based") {
		access |= verbs.ZeroBased
	}
	steps := uint32(rapid.IntRange(1, 255).Draw(t, "variant"))
	anew := rapid.Bool().Draw(t, "anew")
	if g.mr == nil {
		return
	}
	e := m.r.b[conn]
	b := verbs.MWBind{MW: k.mw, MR: g.mr, Buf: m.slice(x), Access: access}
	inside := x.n == 0 || x.block == g.block && x.off >= g.off && x.off+x.n <= g.off+g.n
	ok := (k.typ == verbs.MWType1 || !k.bound && x.n > 0) && g.pd == 0 && inside && g.access&verbs.MWBindAccess != 0 && g.access&verbs.ZeroBased == 0 &&
		(access&(verbs.RemoteWrite|verbs.RemoteAtomic) == 0 || g.access&verbs.LocalWrite != 0)
	key := (k.mw.RKey()&^0xff | (k.mw.RKey()+steps)&0xff)
	if k.typ == verbs.MWType1 {
		var err error
		key, err = k.mw.Bind(e.qp, 60, verbs.Signaled, b)
		must(m.t, err)
	} else {
		b.RKey = key
		must(m.t, e.qp.PostSend(verbs.SendWR{ID: 60, Opcode: verbs.BindMW, Flags: verbs.Signaled, Bind: &b}))
	}
	if !ok {
		m.expect(e, 60, verbs.MWBindErr)
		m.failed(conn, anew)
		return
	}
	m.expect(e, 60, verbs.Success)
	m.unbind(k)
	k.key = key
	if x.n == 0 {
		m.stale = append(m.stale, key)
		return
	}
	g.windows++
	k.bound, k.region, k.extent, k.conn, k.access = true, region, x, conn, access
}

// anyKey draws a key: mostly a good one, else a stale one or none. If it is of a window it gives that too.
func (m *keyMachine) anyKey(t *rapid.T) (key uint32, of *keyWindow) {
	var bound []*keyWindow
	var keys []uint32
	for i := range m.windows {
		k := &m.windows[i]
		if k.bound {
			bound = append(bound, k)
		}
		if k.mw != nil {
			keys = append(keys, k.key)
		}
	}
	for i := range m.regions {
		if k := &m.regions[i]; k.mr != nil {
			keys = append(keys, k.mr.RKey())
		}
	}
	if len(bound) > 0 && rapid.IntRange(0, 3).Draw(t, "a bound window") > 0 {
		of = rapid.SampledFrom(bound).Draw(t, "bound")
		return of.key, of
	}
	if n := len(m.stale); n > 0 {
		keys = append(keys, m.stale[n-1], m.stale[n/2])
	}
	return rapid.SampledFrom(append(keys, 0x77)).Draw(t, "key"), nil
}

// connection draws one, mostly the one that a window is bound to.
func (m *keyMachine) connection(t *rapid.T, k *keyWindow) int {
	conn := rapid.IntRange(0, 1).Draw(t, "connection")
	if k != nil && k.typ == verbs.MWType2 && rapid.IntRange(0, 3).Draw(t, "its own") > 0 {
		conn = k.conn
	}
	return conn
}

// invalidateKey invalidates a key here or from the peer.
func (m *keyMachine) invalidateKey(t *rapid.T) {
	key, of := m.anyKey(t)
	conn := m.connection(t, of)
	remote, anew := rapid.Bool().Draw(t, "by the peer"), rapid.Bool().Draw(t, "anew")
	var k *keyWindow
	for i := range m.windows {
		if w := &m.windows[i]; w.bound && w.key == key && w.typ == verbs.MWType2 && w.conn == conn {
			k = w
		}
	}
	a, b := m.r.a[conn], m.r.b[conn]
	wr := verbs.SendWR{ID: 61, Opcode: verbs.LocalInv, Flags: verbs.Signaled, InvKey: key}
	e, bad := b, verbs.MWBindErr
	if remote {
		must(m.t, b.qp.PostRecv(verbs.RecvWR{ID: 62}))
		wr.Opcode = verbs.SendInv
		e, bad = a, verbs.RemInvReqErr
	}
	must(m.t, e.qp.PostSend(wr))
	if k == nil {
		m.expect(e, 61, bad)
		m.failed(conn, anew)
		return
	}
	m.expect(e, 61, verbs.Success)
	if remote {
		if wc := m.expect(b, 62, verbs.Success); wc.InvKey != key || wc.Flags&verbs.WithInv == 0 {
			m.t.Fatalf("receive completed as %+v, want that it invalidated %#x", wc, key)
		}
	}
	m.unbind(k)
}

// named is what the model says that a key names for a connection.
func (m *keyMachine) named(key uint32, conn int) (x extent, access verbs.Access, ok bool) {
	for i := range m.regions {
		if k := &m.regions[i]; k.mr != nil && k.mr.RKey() == key {
			return k.extent, k.access, k.pd == 0
		}
	}
	for i := range m.windows {
		if k := &m.windows[i]; k.bound && k.key == key {
			return k.extent, k.access, k.typ == verbs.MWType1 || k.conn == conn
		}
	}
	return x, 0, false
}

// keyOps are the accesses of the programs and the rights that they need.
var keyOps = map[verbs.Opcode]verbs.Access{verbs.Write: verbs.RemoteWrite, verbs.Read: verbs.RemoteRead, verbs.FetchAdd: verbs.RemoteAtomic}

// access reads, writes or adds with a key.
func (m *keyMachine) access(t *rapid.T) {
	key, of := m.anyKey(t)
	conn := m.connection(t, of)
	op := rapid.SampledFrom([]verbs.Opcode{verbs.Write, verbs.Read, verbs.FetchAdd}).Draw(t, "op")
	n := 8
	if op != verbs.FetchAdd {
		n = rapid.IntRange(1, 24).Draw(t, "bytes")
	}
	at := rapid.IntRange(-2, keyBlock).Draw(t, "offset")
	anew := rapid.Bool().Draw(t, "anew")
	x, access, ok := m.named(key, conn)
	if ok && rapid.IntRange(0, 7).Draw(t, "fitting") > 0 {
		switch {
		case access&keyOps[op] != 0:
		case access&verbs.RemoteRead != 0:
			op = verbs.Read
		case access&verbs.RemoteWrite != 0:
			op = verbs.Write
		}
		if op != verbs.FetchAdd {
			n = min(n, max(x.n, 1))
		}
	}
	if x.n >= n && rapid.IntRange(0, 7).Draw(t, "inside") > 0 {
		at = rapid.IntRange(0, x.n-n).Draw(t, "offset inside")
	}
	base := verbs.AddrOf(m.mem[x.block]) + uint64(x.off)
	first := base + uint64(at)
	addr := first
	if access&verbs.ZeroBased != 0 {
		addr = uint64(at)
	}
	if op == verbs.FetchAdd { // a misaligned one is refused before its key is looked at
		first, at, addr = first-addr%8, at-int(addr%8), addr-addr%8
	}
	want := verbs.Success
	switch {
	case !ok || access&keyOps[op] == 0 || at < 0 || at+n > x.n:
		want = verbs.RemAccessErr
	case op == verbs.FetchAdd && first%8 != 0:
		want = verbs.RemOpErr
	}
	m.seed++
	e := m.r.a[conn]
	buf := e.reg(m.t, pattern(n, m.seed), verbs.LocalWrite)
	m.r.b[conn].sync()
	must(m.t, e.qp.PostSend(verbs.SendWR{ID: 63, Opcode: op, Flags: verbs.Signaled, SG: []verbs.SGE{buf.sge()}, RemoteAddr: addr, RKey: key, Add: 1}))
	wc := m.expect(e, 63, want)
	if want != verbs.Success {
		for until := time.Now().Add(10 * time.Second); m.r.b[conn].state() != verbs.Err && time.Now().Before(until); {
			m.run()
		}
		if m.r.b[conn].reaches(m.t, verbs.Err); !bytes.Equal(buf.b, pattern(n, m.seed)) {
			m.t.Fatalf("a refused %v changed the requester's buffer (%s)", op, wc.Detail)
		}
		m.failed(conn, anew)
	} else {
		there := m.want[x.block][x.off+at:][:n]
		switch op {
		case verbs.Write:
			copy(there, buf.b)
		default:
			if !bytes.Equal(buf.b, there) {
				m.t.Fatalf("%v returned %x, want %x", op, buf.b, there)
			}
			if op == verbs.FetchAdd {
				binary.NativeEndian.PutUint64(there, binary.NativeEndian.Uint64(there)+1)
			}
		}
	}
	must(m.t, buf.Dereg())
	if e.f.device {
		must(m.t, e.ctx.FreeMem(buf.b))
	}
}

// check compares memory.
func (m *keyMachine) check(t *rapid.T) {
	m.r.b[0].sync()
	for i := range m.mem {
		if !bytes.Equal(m.mem[i], m.want[i]) {
			t.Fatalf("block %d is %x, want %x", i, m.mem[i], m.want[i])
		}
	}
}

// free gives everything back.
func (m *keyMachine) free() {
	for i := range m.windows {
		if w := m.windows[i].mw; w != nil {
			must(m.t, w.Dealloc())
		}
	}
	for i := range m.regions {
		if mr := m.regions[i].mr; mr != nil {
			must(m.t, mr.Dereg())
		}
	}
	must(m.t, m.pds[1].Dealloc())
	for i := range m.mem {
		if m.r.b[0].f.device {
			must(m.t, m.r.b[0].ctx.FreeMem(m.mem[i]))
		}
	}
	for i := range m.r.a {
		for _, e := range []*end{m.r.a[i], m.r.b[i]} {
			must(m.t, e.qp.Destroy())
			must(m.t, e.cq.Destroy())
		}
	}
}

// TestKeysAgainstModel runs random programs of registrations, binds, invalidations and accesses.
func TestKeysAgainstModel(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		r := newRig(t, f)
		rapid.Check(t, func(rt *rapid.T) {
			m := newKeyMachine(t, r.a[0], r.b[0])
			defer m.free()
			rt.Repeat(map[string]func(*rapid.T){
				"":            m.check,
				"register":    m.register,
				"deallocate":  m.deallocate,
				"bind":        m.bindWindow,
				"bind again":  m.bindWindow,
				"invalidate":  m.invalidateKey,
				"access":      m.access,
				"more access": m.access,
			})
		})
	})
}
