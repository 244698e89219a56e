package nicrt

import (
	"sort"

	"outboard/verbs"
)

// triggerWire is where triggered sends go. False means that there is no room
// now. It may report an error instead if the peer is out of reach for good.
type triggerWire interface {
	send(peer int, h *Header, payload []byte) bool
	peerErr(peer int) error
}

// counterConfig bounds a counter unit. Zero values stand for the defaults.
type counterConfig struct {
	wire     triggerWire  // required if sends are armed
	device   verbs.Engine // whose counters these are; the zero Engine stands for none
	counters int          // most counters at a time; default 65536
	armed    int          // most operations armed at a time; default 65536
	burst    int          // operations done in one go before the NIC sees to other things; default 256
	finished func()       // called after each Completion that is finished; may be nil
	released func()       // called when a counter that the device changed has released something: kick is due; may be nil
}

// counterStats counts what a counter unit has done.
type counterStats struct {
	Increments uint64 // changes of counters
	Released   uint64 // operations released
	Failed     uint64 // operations that could not be done
	Retries    uint64 // sends refused by the wire, each time
	Strays     uint64 // changes of counters that were freed meanwhile
	Reduced    uint64 // bytes combined or copied by reductions
}

// counterUnit holds the operations that the counters of a NIC trigger. The
// counters themselves are the device's, on which queue pairs count too. It is
// a state machine without goroutines, locks or clock; the caller serialises.
//
// What a change releases is queued, and the queue is worked off in order. A
// chain of operations that releases itself for ever is cut into bursts, of
// which kick does one: it slows the NIC down but never hangs it.
type counterUnit struct {
	cfg     counterConfig
	stats   counterStats
	all     []counterState // by number; entry 0 is not used
	free    []Counter
	armed   int
	unused  *armedOp   // op objects to use again
	queue   []*armedOp // released, from head on
	head    int
	stalled []triggeredSend
	blocked []int    // peers that have refused in this round of retries
	buffers [][]byte // for payloads of stalled sends
	running bool
}

// counterState is one counter.
type counterState struct {
	k       *verbs.Counter // nil while the number is free
	pending []*armedOp     // by threshold, then by issue
	waits   []counterWait
}

type counterWait struct {
	test uint64
	done *Completion
}

// armedOp is a triggered operation on the NIC.
type armedOp struct {
	Triggered
	next *armedOp // while unused
	refs int      // entries of queue and stalled, and 1 while armed
}

// triggeredSend is a released send that waits for room on the wire, with the
// payload of that moment.
type triggeredSend struct {
	op      *armedOp
	payload []byte
}

func newCounterUnit(cfg counterConfig) *counterUnit {
	if cfg.counters == 0 {
		cfg.counters = 1 << 16
	}
	if cfg.armed == 0 {
		cfg.armed = 1 << 16
	}
	if cfg.burst == 0 {
		cfg.burst = 256
	}
	if cfg.finished == nil {
		cfg.finished = func() {}
	}
	if cfg.released == nil {
		cfg.released = func() {}
	}
	return &counterUnit{cfg: cfg, all: make([]counterState, 1)}
}

// alloc makes a counter with the value 0.
func (u *counterUnit) alloc() (Counter, error) {
	n := len(u.free)
	if n == 0 && len(u.all) > u.cfg.counters {
		return 0, counterErrorf(0, "all %d counters are in use", u.cfg.counters)
	}
	c := Counter(len(u.all))
	if n > 0 {
		c = u.free[n-1]
	}
	k, err := u.cfg.device.CreateCounter(func(old CounterValue) { u.heard(c, old) })
	switch {
	case err != nil:
		return 0, counterErrorf(0, "%v", err)
	case n > 0:
		u.free = u.free[:n-1]
		u.all[c].k = k
	default:
		u.all = append(u.all, counterState{k: k})
	}
	return c, nil
}

// release gives a counter back, unless a queue pair counts on it. Its pending operations are cancelled, its
// waits end in an error. What is already released still runs.
func (u *counterUnit) release(c Counter) error {
	s, err := u.find(c)
	if err != nil {
		return err
	}
	if err := u.cfg.device.DestroyCounter(s.k); err != nil {
		return counterErrorf(c, "%v", err)
	}
	u.cancel(s)
	waits := s.waits
	*s = counterState{pending: s.pending}
	u.free = append(u.free, c)
	for _, w := range waits {
		u.finish(w.done, counterErrorf(c, "it was freed during the wait"))
	}
	return nil
}

// find gives a live counter.
func (u *counterUnit) find(c Counter) (*counterState, error) {
	if uint64(c) >= uint64(len(u.all)) || u.all[c].k == nil {
		return nil, counterErrorf(c, "there is no such counter")
	}
	return &u.all[c], nil
}

// get reads a counter.
func (u *counterUnit) get(c Counter) (CounterValue, error) {
	s, err := u.find(c)
	if err != nil {
		return CounterValue{}, err
	}
	return u.value(s), nil
}

func (u *counterUnit) value(s *counterState) CounterValue { return u.cfg.device.CounterValue(s.k) }

// set sets a counter, and increment adds to it. Both release what becomes due.
func (u *counterUnit) set(c Counter, v CounterValue) error {
	s, err := u.find(c)
	if err != nil {
		return err
	}
	u.change(c, s, v)
	u.run()
	return nil
}

func (u *counterUnit) increment(c Counter, by CounterValue) error {
	s, err := u.find(c)
	if err != nil {
		return err
	}
	u.change(c, s, u.value(s).Plus(by))
	u.run()
	return nil
}

// change gives a counter a new value and queues what that releases.
func (u *counterUnit) change(c Counter, s *counterState, v CounterValue) {
	old, now := u.value(s).Total(), v.Total()
	u.cfg.device.SetCounter(s.k, v)
	u.stats.Increments++
	if s.concerns(now) {
		u.changed(c, s, old, now)
	}
}

// concerns tells whether somebody may have waited for a total. Most changes are nobody's concern.
func (s *counterState) concerns(now uint64) bool {
	return len(s.waits) > 0 || len(s.pending) > 0 && s.pending[0].Threshold <= now
}

// heard takes note of a change by the device: by a completion of a queue pair, or by the host. It comes at a moment at which
// nothing may be sent, so that what is released runs later.
func (u *counterUnit) heard(c Counter, old CounterValue) {
	s := &u.all[c]
	u.stats.Increments++
	if now := u.value(s).Total(); s.concerns(now) {
		u.changed(c, s, old.Total(), now)
	}
	if u.queued() {
		u.cfg.released()
	}
}

// changed queues what a change of a counter's total releases.
func (u *counterUnit) changed(c Counter, s *counterState, old, now uint64) {
	kept := s.pending[:0]
	for i, op := range s.pending {
		if op.Threshold > now {
			kept = append(kept, s.pending[i:]...)
			break
		}
		if !op.Persistent {
			u.armed--
			u.enqueue(op)
			op.refs--
			continue
		}
		if op.Threshold > old {
			u.enqueue(op)
		}
		kept = append(kept, op)
	}
	clear(s.pending[len(kept):])
	s.pending = kept
	if len(s.waits) > 0 {
		u.wake(c, s)
	}
}

func (u *counterUnit) enqueue(op *armedOp) {
	u.stats.Released++
	op.refs++
	u.queue = append(u.queue, op)
}

// arm associates an operation with its counter. If the counter has reached the
// threshold the operation runs at once.
func (u *counterUnit) arm(t Triggered) error {
	s, err := u.find(t.Counter)
	if err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	if t.Kind == TriggerSend && u.cfg.wire == nil {
		return counterErrorf(t.Counter, "triggered send without a wire")
	}
	if t.Then != 0 {
		if _, err := u.find(t.Then); err != nil {
			return err
		}
	}
	if t.Kind == TriggerIncrement || t.Kind == TriggerSet {
		if _, err := u.find(t.Target); err != nil {
			return err
		}
	}
	if u.armed == u.cfg.armed {
		return counterErrorf(t.Counter, "%d operations are armed already", u.armed)
	}
	op := u.newOp(t)
	due := u.value(s).Total() >= t.Threshold
	if due {
		u.enqueue(op)
	}
	if !due || t.Persistent {
		u.armed++
		op.refs++
		at := sort.Search(len(s.pending), func(i int) bool { return s.pending[i].Threshold > t.Threshold })
		s.pending = append(s.pending, nil)
		copy(s.pending[at+1:], s.pending[at:])
		s.pending[at] = op
	}
	u.run()
	return nil
}

// cancelTriggered cancels the operations that a counter has yet to release and
// gives their number.
func (u *counterUnit) cancelTriggered(c Counter) (int, error) {
	s, err := u.find(c)
	if err != nil {
		return 0, err
	}
	return u.cancel(s), nil
}

func (u *counterUnit) cancel(s *counterState) int {
	n := len(s.pending)
	for i, op := range s.pending {
		u.drop(op)
		s.pending[i] = nil
	}
	s.pending = s.pending[:0]
	u.armed -= n
	return n
}

// wait ends done when the counter has at least test successes, or with a
// *CountedFailure when it has a failure.
func (u *counterUnit) wait(c Counter, test uint64, done *Completion) error {
	s, err := u.find(c)
	switch {
	case err != nil:
		return err
	case done == nil:
		return counterErrorf(c, "wait without a completion")
	case done.pending:
		return counterErrorf(c, "wait with a completion that is pending")
	}
	done.begin()
	s.waits = append(s.waits, counterWait{test, done})
	u.wake(c, s)
	return nil
}

// wake ends the waits that are over.
func (u *counterUnit) wake(c Counter, s *counterState) {
	var err error
	v := u.value(s)
	if v.Failure != 0 {
		err = &CountedFailure{Counter: c, Value: v}
	}
	for i := 0; i < len(s.waits); {
		w := s.waits[i]
		if err == nil && v.Success < w.test {
			i++
			continue
		}
		s.waits = append(s.waits[:i], s.waits[i+1:]...)
		u.finish(w.done, err) // may add waits, at the end
		s = &u.all[c]
	}
}

func (u *counterUnit) finish(done *Completion, err error) {
	done.finish(err)
	u.cfg.finished()
}

// shut ends all waits with an error and forgets all operations.
func (u *counterUnit) shut(cause error) {
	u.queue, u.head, u.stalled = nil, 0, nil
	for c := range u.all {
		s := &u.all[c]
		u.cancel(s)
		waits := s.waits
		s.waits = nil
		for _, w := range waits {
			u.finish(w.done, cause)
		}
	}
}

// newOp takes an op object without references.
func (u *counterUnit) newOp(t Triggered) *armedOp {
	op := u.unused
	if op == nil {
		op = new(armedOp)
	} else {
		u.unused = op.next
	}
	op.Triggered, op.next, op.refs = t, nil, 0
	return op
}

// drop takes one reference away.
func (u *counterUnit) drop(op *armedOp) {
	if op.refs--; op.refs == 0 {
		op.Triggered = Triggered{}
		op.next = u.unused
		u.unused = op
	}
}
