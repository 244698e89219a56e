package verbs_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outboard/verbs"
	"outboard/verbs/fabric"
)

// edge is a row of the kernel's qp_state_table for one type.
type edge struct {
	from, to           verbs.State
	required, optional verbs.AttrMask
}

// Names of the attributes, for the table.
const (
	access   = verbs.AttrAccess
	pkey     = verbs.AttrPKeyIndex
	port     = verbs.AttrPort
	qkey     = verbs.AttrQKey
	av       = verbs.AttrAV
	mtu      = verbs.AttrPathMTU
	destQPN  = verbs.AttrDestQPN
	rqPSN    = verbs.AttrRQPSN
	sqPSN    = verbs.AttrSQPSN
	destRd   = verbs.AttrMaxDestRdAtomic
	rd       = verbs.AttrMaxRdAtomic
	minRNR   = verbs.AttrMinRNRTimer
	timeout  = verbs.AttrTimeout
	retries  = verbs.AttrRetryCnt
	rnrs     = verbs.AttrRNRRetry
	curState = verbs.AttrCurState
	notify   = verbs.AttrEnSQDAsyncNotify
	altPath  = verbs.AttrAltPath
	mig      = verbs.AttrPathMigState
)

// everyType: each state may go to RESET, and all but RESET to ERR: these rows are of all types.
var everyType = []edge{
	{from: verbs.Reset, to: verbs.Reset},
	{from: verbs.Init, to: verbs.Reset}, {from: verbs.Init, to: verbs.Err},
	{from: verbs.RTR, to: verbs.Reset}, {from: verbs.RTR, to: verbs.Err},
	{from: verbs.RTS, to: verbs.Reset}, {from: verbs.RTS, to: verbs.Err},
	{from: verbs.SQD, to: verbs.Reset}, {from: verbs.SQD, to: verbs.Err},
	{from: verbs.SQE, to: verbs.Reset}, {from: verbs.SQE, to: verbs.Err},
	{from: verbs.Err, to: verbs.Reset}, {from: verbs.Err, to: verbs.Err},
}

// stateTable is what the kernel allows (qp_state_table and ib_modify_qp_is_ok in drivers/infiniband/core/verbs.c), and
// the manual page ibv_modify_qp(3) with it. It is kept apart from the table of the package on purpose.
var stateTable = map[verbs.QPType][]edge{
	verbs.RC: {
		{verbs.Reset, verbs.Init, pkey | port | access, 0},
		{verbs.Init, verbs.Init, 0, pkey | port | access},
		{verbs.Init, verbs.RTR, av | mtu | destQPN | rqPSN | destRd | minRNR, altPath | access | pkey},
		{verbs.RTR, verbs.RTS, timeout | retries | rnrs | sqPSN | rd, curState | altPath | access | minRNR | mig},
		{verbs.RTS, verbs.RTS, 0, curState | access | altPath | mig | minRNR},
		{verbs.RTS, verbs.SQD, 0, notify},
		{verbs.SQD, verbs.RTS, 0, curState | altPath | access | minRNR | mig},
		{verbs.SQD, verbs.SQD, 0, port | av | timeout | retries | rnrs | rd | destRd | altPath | access | pkey | minRNR | mig},
	},
	verbs.UC: {
		{verbs.Reset, verbs.Init, pkey | port | access, 0},
		{verbs.Init, verbs.Init, 0, pkey | port | access},
		{verbs.Init, verbs.RTR, av | mtu | destQPN | rqPSN, altPath | access | pkey},
		{verbs.RTR, verbs.RTS, sqPSN, curState | altPath | access | mig},
		{verbs.RTS, verbs.RTS, 0, curState | access | altPath | mig},
		{verbs.RTS, verbs.SQD, 0, notify},
		{verbs.SQD, verbs.RTS, 0, curState | altPath | access | mig},
		{verbs.SQD, verbs.SQD, 0, av | altPath | access | pkey | mig},
		{verbs.SQE, verbs.RTS, 0, curState | access},
	},
	verbs.UD: {
		{verbs.Reset, verbs.Init, pkey | port | qkey, 0},
		{verbs.Init, verbs.Init, 0, pkey | port | qkey},
		{verbs.Init, verbs.RTR, 0, pkey | qkey},
		{verbs.RTR, verbs.RTS, sqPSN, curState | qkey},
		{verbs.RTS, verbs.RTS, 0, curState | qkey},
		{verbs.RTS, verbs.SQD, 0, notify},
		{verbs.SQD, verbs.RTS, 0, curState | qkey},
		{verbs.SQD, verbs.SQD, 0, pkey | qkey},
		{verbs.SQE, verbs.RTS, 0, curState | qkey},
	},
}

// statesOf are the states that a queue pair of a type can be in.
func statesOf(typ verbs.QPType) []verbs.State {
	all := []verbs.State{verbs.Reset, verbs.Init, verbs.RTR, verbs.RTS, verbs.SQD, verbs.SQE, verbs.Err}
	if typ == verbs.RC {
		return slices.DeleteFunc(all, func(s verbs.State) bool { return s == verbs.SQE })
	}
	return all
}

var qpTypes = []verbs.QPType{verbs.RC, verbs.UC, verbs.UD}

func find(typ verbs.QPType, from, to verbs.State) *edge {
	for _, rows := range [][]edge{everyType, stateTable[typ]} {
		for i, row := range rows {
			if row.from == from && row.to == to {
				return &rows[i]
			}
		}
	}
	return nil
}

// allAttrs are the bits but AttrState.
func allAttrs() (bits []verbs.AttrMask) {
	for b := verbs.AttrAccess; b <= verbs.AttrPathMigState; b <<= 1 {
		bits = append(bits, b)
	}
	return bits
}

// badValues are values that the device refuses, by attribute. It has no automatic path migration, so there is no good value
// of ALT_PATH and PATH_MIG_STATE.
var badValues = map[verbs.AttrMask][]func(*verbs.QPAttr){
	access: {func(a *verbs.QPAttr) { a.Access = 1 << 7 }, func(a *verbs.QPAttr) { a.Access = verbs.MWBindAccess }},
	pkey:   {func(a *verbs.QPAttr) { a.PKeyIndex = 1 }, func(a *verbs.QPAttr) { a.PKeyIndex = 1<<16 - 1 }},
	port:   {func(a *verbs.QPAttr) { a.Port = 0 }, func(a *verbs.QPAttr) { a.Port = 2 }},
	av: {func(a *verbs.QPAttr) { a.AV = "" }, func(a *verbs.QPAttr) { a.AV = "nonsense" }, func(a *verbs.QPAttr) { a.AV = "inproc:1:1" },
		func(a *verbs.QPAttr) { a.GRH.SGIDIndex = 2 }, func(a *verbs.QPAttr) { a.GRH.FlowLabel = 1 << 20 }},
	mtu: {func(a *verbs.QPAttr) { a.PathMTU = 0 }, func(a *verbs.QPAttr) { a.PathMTU = 128 }, func(a *verbs.QPAttr) { a.PathMTU = 1000 },
		func(a *verbs.QPAttr) { a.PathMTU = 1 << 20 }, func(a *verbs.QPAttr) { a.PathMTU = -1024 }},
	destQPN: {func(a *verbs.QPAttr) { a.DestQPN = 0 }, func(a *verbs.QPAttr) { a.DestQPN = 1 }, func(a *verbs.QPAttr) { a.DestQPN = 1 << 24 },
		func(a *verbs.QPAttr) { a.DestQPN = 1<<32 - 1 }},
	destRd:   {func(a *verbs.QPAttr) { a.MaxDestRdAtomic = 129 }},
	rd:       {func(a *verbs.QPAttr) { a.MaxRdAtomic = 129 }},
	minRNR:   {func(a *verbs.QPAttr) { a.MinRNRTimer = 32 }},
	timeout:  {func(a *verbs.QPAttr) { a.Timeout = 32 }},
	retries:  {func(a *verbs.QPAttr) { a.RetryCnt = 8 }},
	rnrs:     {func(a *verbs.QPAttr) { a.RNRRetry = 8 }},
	curState: {func(a *verbs.QPAttr) { a.CurState = (a.CurState + 1) % (verbs.Err + 1) }, func(a *verbs.QPAttr) { a.CurState = 99 }},
	altPath:  {func(*verbs.QPAttr) {}},
	mig:      {func(*verbs.QPAttr) {}},
}

// typedEnd is one side of a type.
func typedEnd(t testing.TB, f fabricUnder, typ verbs.QPType) *end {
	t.Helper()
	return newEndOn(t, f, f.context(t), func(in *verbs.QPInit) { in.Type = typ })
}

// inState returns a queue pair of RC in a state, and attributes that lead it further.
func inState(t *testing.T, s verbs.State) (*end, verbs.QPAttr) {
	t.Helper()
	return typedInState(t, verbs.RC, s)
}

func typedInState(t *testing.T, typ verbs.QPType, s verbs.State) (*end, verbs.QPAttr) {
	t.Helper()
	f := plainFabrics[0]
	e, peer := typedEnd(t, f, typ), typedEnd(t, f, typ)
	a := attrFor(peer)
	a.QKey = 0x1234
	climb := map[verbs.State]verbs.State{verbs.SQD: verbs.RTS, verbs.SQE: verbs.RTS, verbs.Err: verbs.Init}
	if to, ok := climb[s]; ok {
		e.bring(t, a, to)
	} else {
		e.bring(t, a, s)
	}
	switch s {
	case verbs.SQD, verbs.Err:
		must(t, e.qp.Modify(verbs.QPAttr{State: s}, verbs.AttrState))
	case verbs.SQE:
		must(t, e.qp.PostSend(badSend(t, e, 1)))
		e.expect(t, 1, verbs.LocProtErr)
	}
	if e.state() != s {
		t.Fatalf("queue pair in %v, want %v", e.state(), s)
	}
	a.CurState = s
	return e, a
}

// badSend is a SEND that fails on this side: its memory has another lkey.
func badSend(t testing.TB, e *end, id uint64) verbs.SendWR {
	t.Helper()
	wr := verbs.SendWR{ID: id, SG: []verbs.SGE{{Buf: make([]byte, 8), LKey: 0x7700}}}
	if _, in := e.qp.Query(); in.Type == verbs.UD {
		ah, err := e.ctx.CreateAH(e.pd, verbs.AHAttr{Addr: e.ctx.Addr(), Port: 1})
		must(t, err)
		wr.UD = &verbs.UDDest{AH: ah, QPN: e.qp.QPN()}
	}
	return wr
}

// refused checks that a Modify fails and changes nothing.
func refused(t *testing.T, e *end, a verbs.QPAttr, mask verbs.AttrMask, want ...error) {
	t.Helper()
	before, _ := e.qp.Query()
	err := e.qp.Modify(a, mask)
	ok := false
	for _, w := range want {
		ok = ok || errors.Is(err, w)
	}
	if !ok {
		t.Errorf("Modify(%v to %v, %v) gave %v, want one of %v", before.State, a.State, mask, err, want)
	}
	after, _ := e.qp.Query()
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("Modify(%v) changed the queue pair although it failed: %s", mask, d)
	}
}

// eachEdge runs f for all pairs of states of all types, row nil where the table has none.
func eachEdge(t *testing.T, f func(t *testing.T, typ verbs.QPType, from, to verbs.State, row *edge)) {
	for _, typ := range qpTypes {
		for _, from := range statesOf(typ) {
			for to := range verbs.Err + 1 {
				t.Run(fmt.Sprintf("%v/%v to %v", typ, from, to), func(t *testing.T) { f(t, typ, from, to, find(typ, from, to)) })
			}
		}
	}
}

func TestModifyTable(t *testing.T) {
	const noAPM = altPath | mig
	eachEdge(t, func(t *testing.T, typ verbs.QPType, from, to verbs.State, row *edge) {
		e, a := typedInState(t, typ, from)
		a.State = to
		if row == nil {
			refused(t, e, a, verbs.AttrState, verbs.ErrState)
			refused(t, e, a, verbs.AttrState|access, verbs.ErrState)
			return
		}
		edgeErrors(t, e, a, row)
		must(t, e.qp.Modify(a, verbs.AttrState|row.required))
		if e.state() != to {
			t.Errorf("queue pair in %v, want %v", e.state(), to)
		}
		for _, mask := range append(each(row.optional&^noAPM), row.optional&^noAPM) {
			e, a = typedInState(t, typ, from)
			a.State = to
			must(t, e.qp.Modify(a, verbs.AttrState|row.required|mask))
		}
	})
}

// each splits a mask into its attributes.
func each(m verbs.AttrMask) (bits []verbs.AttrMask) {
	return slices.DeleteFunc(allAttrs(), func(b verbs.AttrMask) bool { return m&b == 0 })
}

// edgeErrors tries an edge with each attribute missing, superfluous and of bad value.
func edgeErrors(t *testing.T, e *end, a verbs.QPAttr, row *edge) {
	t.Helper()
	whole := verbs.AttrState | row.required | row.optional&^(altPath|mig)
	for _, bit := range allAttrs() {
		switch {
		case row.required&bit != 0:
			refused(t, e, a, whole&^bit, verbs.ErrInvalid)
		case row.optional&bit == 0:
			refused(t, e, a, whole|bit, verbs.ErrInvalid)
			continue
		}
		for _, spoil := range badValues[bit] {
			bad := a
			spoil(&bad)
			refused(t, e, bad, whole|bit, verbs.ErrInvalid, fabric.ErrAddress, fabric.ErrUnreachable, fabric.ErrNoEndpoint)
		}
	}
	refused(t, e, a, whole|1<<31, verbs.ErrInvalid)
}

func TestModifyWithoutState(t *testing.T) {
	for _, typ := range qpTypes {
		for _, s := range statesOf(typ) {
			t.Run(fmt.Sprintf("%v/%v", typ, s), func(t *testing.T) {
				e, a := typedInState(t, typ, s)
				row := find(typ, s, s)
				if row == nil {
					refused(t, e, a, 0, verbs.ErrState)
					return
				}
				a.Access, a.MinRNRTimer, a.QKey, a.Timeout = verbs.RemoteRead, 7, 99, 3
				before, _ := e.qp.Query()
				must(t, e.qp.Modify(a, row.optional&^(altPath|mig)))
				want := before
				for bit, set := range map[verbs.AttrMask]func(){access: func() { want.Access = a.Access }, minRNR: func() { want.MinRNRTimer = 7 },
					qkey: func() { want.QKey = 99 }, timeout: func() { want.Timeout = 3 }} {
					if row.optional&bit != 0 {
						set()
					}
				}
				after, _ := e.qp.Query()
				if d := cmp.Diff(want, after); d != "" {
					t.Errorf("attributes after Modify: %s", d)
				}
			})
		}
	}
}

func TestNoPathMigration(t *testing.T) {
	e, a := inState(t, verbs.RTS)
	for _, mask := range []verbs.AttrMask{altPath, mig, altPath | mig} {
		err := e.qp.Modify(a, mask)
		wantErr(t, err, verbs.ErrInvalid)
		for _, word := range []string{mask.String(), "no automatic path migration"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("error %q, want it to say %q", err, word)
			}
		}
	}
}

func TestModifyUnknownState(t *testing.T) {
	e, a := inState(t, verbs.RTR)
	a.State = 17
	refused(t, e, a, verbs.AttrState, verbs.ErrState)
}

func TestQueryKeepsWhatWasSet(t *testing.T) {
	own := verbs.GRH{SGIDIndex: 1, HopLimit: 3, TrafficClass: 4, FlowLabel: 1<<20 - 1}
	for _, typ := range qpTypes {
		t.Run(typ.String(), func(t *testing.T) {
			f := plainFabrics[0]
			e, peer := typedEnd(t, f, typ), typedEnd(t, f, typ)
			addr, qpn := peer.ctx.Addr(), peer.qp.QPN()
			e.bring(t, verbs.QPAttr{Port: 1, QKey: 1<<31 + 5, Access: verbs.RemoteRead, AV: addr, GRH: own, PathMTU: 512, DestQPN: qpn, RQPSN: 0x123456, SQPSN: 0xabcdef,
				MaxRdAtomic: 3, MaxDestRdAtomic: 5, MinRNRTimer: 30, Timeout: 31, RetryCnt: 6, RNRRetry: 5}, verbs.RTS)
			want := verbs.QPAttr{State: verbs.RTS, CurState: verbs.RTS, Port: 1, SQPSN: 0xabcdef}
			if typ == verbs.UD {
				want.QKey = 1<<31 + 5
			} else {
				want.Access, want.AV, want.GRH, want.PathMTU, want.DestQPN, want.RQPSN = verbs.RemoteRead, addr, own, 512, qpn, 0x123456
			}
			if typ == verbs.RC {
				want.MaxRdAtomic, want.MaxDestRdAtomic, want.MinRNRTimer, want.Timeout, want.RetryCnt, want.RNRRetry = 3, 5, 30, 31, 6, 5
			}
			got, in := e.qp.Query()
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("attributes differ from what was set: %s", d)
			}
			if in.Cap != defaultCap || in.Type != typ || in.SendCQ != e.cq || in.RecvCQ != e.cq {
				t.Errorf("made with %+v, want what was given", in)
			}
			must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
			if got, _ = e.qp.Query(); got != (verbs.QPAttr{}) {
				t.Errorf("attributes %+v after RESET, want none", got)
			}
		})
	}
}

func TestPSNIsMasked(t *testing.T) {
	e, a := inState(t, verbs.Init)
	a.State, a.RQPSN = verbs.RTR, 0xff123456
	must(t, e.qp.Modify(a, maskRTR))
	if got, _ := e.qp.Query(); got.RQPSN != 0x123456 {
		t.Errorf("RQ_PSN %#x, want 24 bits", got.RQPSN)
	}
}

func TestCreateQPCapacities(t *testing.T) {
	e, other := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	l := e.ctx.Limits()
	for name, c := range map[string]verbs.QPCap{
		"send_wr": {SendWR: l.MaxWR + 1}, "recv_wr": {RecvWR: -1}, "send_sge": {SendSGE: l.MaxSGE + 1},
		"recv_sge": {RecvSGE: l.MaxSGE + 1}, "inline": {Inline: l.MaxInline + 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq, Cap: c})
			wantErr(t, err, verbs.ErrInvalid)
		})
	}
	for name, in := range map[string]verbs.QPInit{"no queue": {SendCQ: e.cq}, "queue of another context": {SendCQ: e.cq, RecvCQ: other.cq}} {
		t.Run(name, func(t *testing.T) {
			_, err := e.ctx.CreateQP(e.pd, in)
			wantErr(t, err, verbs.ErrInvalid)
		})
	}
	if seen := map[uint32]bool{}; true {
		for range 20 {
			qp, err := e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq})
			must(t, err)
			if seen[qp.QPN()] || qp.QPN() < 2 {
				t.Fatalf("queue pair number %d is taken or reserved", qp.QPN())
			}
			seen[qp.QPN()] = true
		}
	}
}
