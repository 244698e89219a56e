package verbs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outboard/verbs"
	"outboard/verbs/fabric"
)

// edge is a row of the table of ibv_modify_qp(3) for RC.
type edge struct {
	from, to           verbs.State
	required, optional verbs.AttrMask
}

var manPage = []edge{
	{verbs.Reset, verbs.Reset, 0, 0},
	{verbs.Reset, verbs.Init, verbs.AttrPKeyIndex | verbs.AttrPort | verbs.AttrAccess, 0},
	{verbs.Init, verbs.Reset, 0, 0},
	{verbs.Init, verbs.Err, 0, 0},
	{verbs.Init, verbs.Init, 0, verbs.AttrPKeyIndex | verbs.AttrPort | verbs.AttrAccess},
	{verbs.Init, verbs.RTR, verbs.AttrAV | verbs.AttrPathMTU | verbs.AttrDestQPN | verbs.AttrRQPSN | verbs.AttrMaxDestRdAtomic | verbs.AttrMinRNRTimer,
		verbs.AttrAccess | verbs.AttrPKeyIndex},
	{verbs.RTR, verbs.Reset, 0, 0},
	{verbs.RTR, verbs.Err, 0, 0},
	{verbs.RTR, verbs.RTS, verbs.AttrSQPSN | verbs.AttrTimeout | verbs.AttrRetryCnt | verbs.AttrRNRRetry | verbs.AttrMaxRdAtomic,
		verbs.AttrAccess | verbs.AttrMinRNRTimer},
	{verbs.RTS, verbs.Reset, 0, 0},
	{verbs.RTS, verbs.Err, 0, 0},
	{verbs.RTS, verbs.RTS, 0, verbs.AttrAccess | verbs.AttrMinRNRTimer},
	{verbs.Err, verbs.Reset, 0, 0},
	{verbs.Err, verbs.Err, 0, 0},
}

var states = []verbs.State{verbs.Reset, verbs.Init, verbs.RTR, verbs.RTS, verbs.Err}

func find(from, to verbs.State) *edge {
	for i := range manPage {
		if manPage[i].from == from && manPage[i].to == to {
			return &manPage[i]
		}
	}
	return nil
}

// allAttrs are the bits but AttrState.
func allAttrs() (bits []verbs.AttrMask) {
	for b := verbs.AttrAccess; b <= verbs.AttrMaxRdAtomic; b <<= 1 {
		bits = append(bits, b)
	}
	return bits
}

// badValues are values that the device refuses, by attribute.
var badValues = map[verbs.AttrMask][]func(*verbs.QPAttr){
	verbs.AttrAccess:    {func(a *verbs.QPAttr) { a.Access = 1 << 7 }},
	verbs.AttrPKeyIndex: {func(a *verbs.QPAttr) { a.PKeyIndex = 1 }},
	verbs.AttrPort:      {func(a *verbs.QPAttr) { a.Port = 0 }, func(a *verbs.QPAttr) { a.Port = 2 }},
	verbs.AttrAV:        {func(a *verbs.QPAttr) { a.AV = "" }, func(a *verbs.QPAttr) { a.AV = "nonsense" }, func(a *verbs.QPAttr) { a.AV = "inproc:1:1" }},
	verbs.AttrPathMTU: {func(a *verbs.QPAttr) { a.PathMTU = 0 }, func(a *verbs.QPAttr) { a.PathMTU = 128 }, func(a *verbs.QPAttr) { a.PathMTU = 1000 },
		func(a *verbs.QPAttr) { a.PathMTU = 1 << 20 }, func(a *verbs.QPAttr) { a.PathMTU = -1024 }},
	verbs.AttrDestQPN: {func(a *verbs.QPAttr) { a.DestQPN = 0 }, func(a *verbs.QPAttr) { a.DestQPN = 1 }, func(a *verbs.QPAttr) { a.DestQPN = 1 << 24 },
		func(a *verbs.QPAttr) { a.DestQPN = 1<<32 - 1 }},
	verbs.AttrMaxDestRdAtomic: {func(a *verbs.QPAttr) { a.MaxDestRdAtomic = 129 }},
	verbs.AttrMinRNRTimer:     {func(a *verbs.QPAttr) { a.MinRNRTimer = 32 }},
	verbs.AttrTimeout:         {func(a *verbs.QPAttr) { a.Timeout = 32 }},
	verbs.AttrRetryCnt:        {func(a *verbs.QPAttr) { a.RetryCnt = 8 }},
	verbs.AttrRNRRetry:        {func(a *verbs.QPAttr) { a.RNRRetry = 8 }},
	verbs.AttrMaxRdAtomic:     {func(a *verbs.QPAttr) { a.MaxRdAtomic = 129 }},
}

// inState returns a queue pair in a state, and attributes that lead it further.
func inState(t *testing.T, s verbs.State) (*end, verbs.QPAttr) {
	e, peer := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	a := attrFor(peer)
	to := s
	if s == verbs.Err {
		to = verbs.Init
	}
	e.bring(t, a, to)
	if s == verbs.Err {
		must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
	}
	if e.state() != s {
		t.Fatalf("queue pair in %v, want %v", e.state(), s)
	}
	return e, a
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

func TestModifyTable(t *testing.T) {
	for _, from := range states {
		for _, to := range states {
			t.Run(fmt.Sprintf("%v to %v", from, to), func(t *testing.T) {
				e, a := inState(t, from)
				a.State = to
				row := find(from, to)
				if row == nil {
					refused(t, e, a, verbs.AttrState, verbs.ErrState)
					refused(t, e, a, verbs.AttrState|verbs.AttrAccess, verbs.ErrState)
					return
				}
				edgeErrors(t, e, a, row)
				must(t, e.qp.Modify(a, verbs.AttrState|row.required))
				if e.state() != to {
					t.Errorf("queue pair in %v, want %v", e.state(), to)
				}
				e, a = inState(t, from)
				a.State = to
				must(t, e.qp.Modify(a, verbs.AttrState|row.required|row.optional))
			})
		}
	}
}

// edgeErrors tries an edge with each attribute missing, superfluous and of bad value.
func edgeErrors(t *testing.T, e *end, a verbs.QPAttr, row *edge) {
	whole := verbs.AttrState | row.required | row.optional
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
			refused(t, e, bad, whole, verbs.ErrInvalid, fabric.ErrAddress, fabric.ErrUnreachable, fabric.ErrNoEndpoint)
		}
	}
	refused(t, e, a, whole|1<<31, verbs.ErrInvalid)
}

func TestModifyWithoutState(t *testing.T) {
	for _, s := range states {
		t.Run(s.String(), func(t *testing.T) {
			e, a := inState(t, s)
			row := find(s, s)
			if row == nil {
				refused(t, e, a, 0, verbs.ErrState)
				return
			}
			a.Access, a.MinRNRTimer = verbs.RemoteRead, 7
			must(t, e.qp.Modify(a, row.optional))
			got, _ := e.qp.Query()
			if row.optional&verbs.AttrAccess != 0 && got.Access != verbs.RemoteRead {
				t.Errorf("access %v, want what was set", got.Access)
			}
		})
	}
}

func TestModifyUnknownState(t *testing.T) {
	e, a := inState(t, verbs.RTR)
	a.State = 17
	refused(t, e, a, verbs.AttrState, verbs.ErrState)
}

func TestQueryKeepsWhatWasSet(t *testing.T) {
	e, a := inState(t, verbs.RTS)
	got, in := e.qp.Query()
	a.State, a.CurState = verbs.RTS, verbs.RTS
	if d := cmp.Diff(a, got); d != "" {
		t.Errorf("attributes differ from what was set: %s", d)
	}
	if in.Cap != defaultCap {
		t.Errorf("capacities %+v, want %+v", in.Cap, defaultCap)
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
