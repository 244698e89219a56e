package unit

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"outboard/tagmatch"
)

// A step is one call of a random program: what it does not use is ignored.
type step struct {
	do       action
	rank, to int
	k        tagmatch.Key
	n        int // bytes
	pick     int // which operation of the rank, from the last
}

type action byte

const (
	doSend action = iota
	doRecv
	doCancel
	doAbandon
	doProbe
	doFail
	doFree
	actions
)

func (s step) String() string {
	name := [actions]string{"send", "recv", "cancel", "abandon", "probe", "fail", "free"}[s.do]
	return fmt.Sprintf("%s rank=%d to=%d %v n=%d pick=%d", name, s.rank, s.to, s.k, s.n, s.pick)
}

// A mirror is an operation and what the model says of it.
type mirror struct {
	op      *Op
	what    step
	handle  tagmatch.Handle
	sent    *mirror // that a receive has taken
	over    bool    // done, or given up
	gaveUp  bool    // abandoned: the Op is not the unit's any more
	err     error
	buf, in []byte
}

var (
	errCancelled = errors.New("cancelled")
	errFailed    = errors.New("context failed")
)

// A model is what units should do, with a plain list for each rank's matching. Each step is carried out to
// its end before the next, so that messages arrive in the order of the steps.
type model struct {
	t       tester
	ranks   []*rank
	match   []*tagmatch.List[*mirror, *mirror]
	ended   []map[uint32]bool
	ops     [][]*mirror // by rank
	arrived []uint64    // messages that each rank should have had
	seed    uint64
}

func newModel(t tester, ranks []*rank) *model {
	m := &model{t: t, ranks: ranks, arrived: make([]uint64, len(ranks)), ops: make([][]*mirror, len(ranks))}
	for range ranks {
		m.match = append(m.match, tagmatch.NewList[*mirror, *mirror](tagmatch.Limits{}))
		m.ended = append(m.ended, map[uint32]bool{})
	}
	return m
}

func (m *model) long(o *mirror) bool { return o.what.n > testEager }

func (m *model) end(o *mirror, err error) {
	if !o.over {
		o.over, o.err = true, err
	}
}

func (m *model) do(s step) {
	switch s.do {
	case doSend:
		m.send(s)
	case doRecv:
		m.recv(s)
	case doCancel:
		m.cancel(s)
	case doAbandon:
		m.abandon(s)
	case doProbe:
		m.probe(s)
	case doFail, doFree:
		m.fail(s)
	}
	m.settle(s)
}

func (m *model) send(s step) {
	s.k.Source = int32(s.rank)
	m.seed++
	o := &mirror{what: s, buf: pattern(s.n, m.seed)}
	m.ops[s.rank] = append(m.ops[s.rank], o)
	o.op = m.ranks[s.rank].send(s.to, s.k, o.buf)
	if m.long(o) && m.ended[s.rank][s.k.Ctx] {
		m.end(o, errFailed)
		return
	}
	m.arrived[s.to]++
	if !m.long(o) {
		m.end(o, nil)
	}
	if m.ended[s.to][s.k.Ctx] {
		m.end(o, ErrRefused)
	} else if r, ok := m.match[s.to].Match(s.k); ok {
		m.pair(o, r)
	} else if _, err := m.match[s.to].Unexpected(s.k, o); err != nil {
		m.t.Fatalf("%v", err)
	}
}

func (m *model) recv(s step) {
	o := &mirror{what: s, in: make([]byte, s.n)}
	m.ops[s.rank] = append(m.ops[s.rank], o)
	o.op = m.ranks[s.rank].recv(s.k, o.in)
	if m.ended[s.rank][s.k.Ctx] {
		m.end(o, errFailed)
		return
	}
	h, sent, ok, err := m.match[s.rank].Post(s.k, o)
	switch o.handle = h; {
	case err != nil:
		m.t.Fatalf("%v", err)
	case ok:
		m.pair(sent, o)
	}
}

// pair ends a send and a receive that have matched.
func (m *model) pair(sent, r *mirror) {
	m.end(sent, nil)
	r.sent = sent
	if len(r.in) < len(sent.buf) {
		m.end(r, ErrTruncate)
	} else {
		m.end(r, nil)
	}
}

// pick is one of a rank's operations, the last ones first, or nil.
func (m *model) pick(s step) *mirror {
	ops := m.ops[s.rank]
	if len(ops) == 0 {
		return nil
	}
	return ops[len(ops)-1-s.pick%len(ops)]
}

func (m *model) cancel(s step) {
	o := m.pick(s)
	if o == nil {
		return
	}
	var got bool
	m.ranks[s.rank].with(func() { got = m.ranks[s.rank].Cancel(o.op, errCancelled) })
	_, want := m.match[s.rank].Cancel(o.handle)
	if got != want {
		m.t.Fatalf("cancel of %v: %v, want %v", o.what, got, want)
	}
	if want {
		m.end(o, errCancelled)
	}
}

func (m *model) abandon(s step) {
	o := m.pick(s)
	if o == nil {
		return
	}
	var got bool
	m.ranks[s.rank].with(func() { got = m.ranks[s.rank].Abandon(o.op) })
	if want := o.what.do == doSend && !o.over; got != want {
		m.t.Fatalf("abandon of %v: %v, want %v", o.what, got, want)
	}
	if got {
		o.over, o.gaveUp = true, true
	}
}

func (m *model) probe(s step) {
	var got Envelope
	var found bool
	m.ranks[s.rank].with(func() { got, found, _ = m.ranks[s.rank].Probe(s.k) })
	e, ok, _ := m.match[s.rank].Probe(s.k)
	var want Envelope
	if ok {
		want = Envelope{Source: e.Key.Source, Tag: e.Key.Tag, Len: e.Value.what.n}
	}
	if found != ok || got != want {
		m.t.Fatalf("probe of %v: %+v %v, want %+v %v", s.k, got, found, want, ok)
	}
}

func (m *model) fail(s step) {
	ctx, r := s.k.Ctx, m.ranks[s.rank]
	if s.do == doFail {
		r.with(func() { r.FailContext(ctx, errFailed) })
		m.ended[s.rank][ctx] = true
	} else {
		r.with(func() { r.FreeContext(ctx, errFailed) })
	}
	receives, messages := m.match[s.rank].RemoveContext(ctx)
	for _, r := range receives {
		m.end(r.Value, errFailed)
	}
	for _, o := range m.ops[s.rank] {
		if o.what.do == doSend && o.what.k.Ctx == ctx {
			m.end(o, errFailed)
		}
	}
	for _, sent := range messages {
		m.end(sent.Value, ErrRefused)
	}
}

// settle carries a step to its end and compares.
func (m *model) settle(s step) {
	t := m.t
	until(t, m.ranks, fmt.Sprintf("the end of %v", s), func() bool { return m.quiet() })
	for rank, ops := range m.ops {
		for _, o := range ops {
			m.compare(rank, o)
		}
		m.compareQueues(rank)
	}
}

// quiet tells whether all that should have happened has.
func (m *model) quiet() bool {
	for i, r := range m.ranks {
		if c := r.counts(); c.Eager+c.Rendezvous < m.arrived[i] {
			return false
		}
		for _, o := range m.ops[i] {
			if o.over && !o.gaveUp && o.op.Done.Load() == 0 {
				return false
			}
		}
	}
	return true
}

func (m *model) compare(rank int, o *mirror) {
	done := o.op.Done.Load() != 0
	switch {
	case o.gaveUp:
		if done {
			m.t.Fatalf("rank %d: %v was given up and is done", rank, o.what)
		}
		return
	case done != o.over:
		m.t.Fatalf("rank %d: %v: done %v, want %v", rank, o.what, done, o.over)
	case !done:
		return
	case !errors.Is(o.op.Err, o.err):
		m.t.Fatalf("rank %d: %v: error %v, want %v", rank, o.what, o.op.Err, o.err)
	}
	if o.sent == nil {
		if !zeros(o.in) {
			m.t.Fatalf("rank %d: %v has received nothing, but its buffer is changed", rank, o.what)
		}
		return
	}
	want := o.sent
	n := min(len(o.in), len(want.buf))
	if o.op.Source != want.what.k.Source || o.op.Tag != want.what.k.Tag || o.op.Len != want.what.n {
		m.t.Fatalf("rank %d: %v: source %d, tag %d, %d bytes: want those of %v", rank, o.what, o.op.Source, o.op.Tag, o.op.Len, want.what)
	}
	wantBytes(m.t, o.in[:n], want.buf[:n])
	if !zeros(o.in[n:]) {
		m.t.Fatalf("rank %d: %v: written past the message's end", rank, o.what)
	}
	o.in, o.sent = nil, nil // it need not be compared again
}

func (m *model) compareQueues(rank int) {
	r := m.ranks[rank]
	r.with(func() {
		gotR, gotM := r.match.Len()
		wantR, wantM := m.match[rank].Len()
		if gotR != wantR || gotM != wantM {
			m.t.Fatalf("rank %d: %d receives and %d messages queued, want %d, %d", rank, gotR, gotM, wantR, wantM)
		}
		if err := r.check(); err != nil {
			m.t.Fatalf("rank %d: %v", rank, err)
		}
	})
}

// finish ends all contexts everywhere: nothing may be left then.
func (m *model) finish() {
	for ctx := range uint32(contextsUsed) {
		for i := range m.ranks {
			m.do(step{do: doFail, rank: i, k: tagmatch.Key{Ctx: ctx}})
		}
	}
	until(m.t, m.ranks, "no buffer is exposed", func() bool {
		for _, r := range m.ranks {
			if r.port.exposed.Load() != 0 {
				return false
			}
		}
		return true
	})
	for _, r := range m.ranks {
		r.clean()
	}
}

const contextsUsed = 3

// steps draws programs for some ranks. Keys are few, so that receives compete.
func steps(ranks int) *rapid.Generator[[]step] {
	field := rapid.SampledFrom([]int32{-1, 0, 1, 0, 1})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		s := step{
			do: rapid.SampledFrom([]action{doSend, doSend, doSend, doSend, doRecv, doRecv, doRecv, doRecv, doCancel, doAbandon,
				doAbandon, doProbe, doFail, doFree}).Draw(t, "do"),
			rank: rapid.IntRange(0, ranks-1).Draw(t, "rank"),
			to:   rapid.IntRange(0, ranks-1).Draw(t, "to"),
			k:    tagmatch.Key{Ctx: rapid.Uint32Range(0, contextsUsed-1).Draw(t, "ctx"), Source: field.Draw(t, "source"), Tag: field.Draw(t, "tag")},
			n:    rapid.SampledFrom([]int{0, 1, testEager - 1, testEager, testEager + 1, 3000, 20000}).Draw(t, "n"),
			pick: rapid.IntRange(0, 8).Draw(t, "pick"),
		}
		if s.do == doSend {
			s.k.Tag = max(s.k.Tag, 0)
		}
		if s.do >= doFail && rapid.IntRange(0, 3).Draw(t, "spare") > 0 {
			s.do = doRecv
		}
		return s
	}), 20, 120)
}

func TestPrograms(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		sizes := []int{3}
		if w.fenced {
			sizes = []int{2}
		}
		for _, n := range sizes {
			t.Run(fmt.Sprintf("ranks=%d", n), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					program := steps(n).Draw(t, "program")
					m := newModel(t, newRanks(t, w, n, testEager))
					for _, s := range program {
						m.do(s)
					}
					m.finish()
				})
			})
		}
	})
}
