package nicrt

import (
	"errors"
	"fmt"
)

// wire is what the executor asks of the network. While it is in one of these
// methods, the wire may report the end of other reads and the loss of peers;
// the executor turns to that when it is done with what it is at.
type wire interface {
	// send takes one small message, of which neither header nor payload is
	// referred to after it returns. False means that there is no room now.
	// Messages that were taken arrive once, and in order for each peer.
	send(peer int, h *Header, payload []byte) bool
	// expose lets the peer read b until conceal is called with the key.
	expose(peer int, b []byte) (addr uint64, key uint32, err error)
	conceal(key uint32)
	// read fetches len(dst) bytes from memory that the peer exposed. It is done
	// when it returns true; otherwise the executor is told by readDone with
	// the token, once for each read, also when the peer is lost.
	read(peer int, dst []byte, addr uint64, key uint32, token uint64) (done bool, err error)
}

// execMemory is the NIC memory that schedules work in.
type execMemory interface {
	alloc(n int) ([]byte, error)
	release(b []byte)
}

var _ execMemory = (*heapMemory)(nil)

// heapMemory stands for NIC memory where none is configured.
type heapMemory struct{}

func (*heapMemory) alloc(n int) ([]byte, error) { return make([]byte, n), nil }
func (*heapMemory) release([]byte)              {}

// execConfig configures an executor. Zero values stand for the defaults.
type execConfig struct {
	program  uint8      // Header.Program of its messages
	wire     wire       // required
	memory   execMemory // NIC memory for scratch and pieces; default: the heap
	eagerMax int        // longest payload sent at once, in bytes; longer ones are read by the receiver
	chunk    int        // bytes read and reduced at a time; default 64 KiB
	depth    int        // reads under way for one reduction; default 2
	pieces   int        // buffers for such reads; default 8
	window   int        // runs of a group that may be in progress, a power of two; default 64
	keepMax  int        // bytes of messages kept for operations that are not ready; default 64 MiB
	keepNIC  int        // how much of them lies in NIC memory rather than in the host's; default 256 KiB
	finished func()     // called after each Completion that is finished; may be nil
}

func (c *execConfig) setDefaults() error {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.chunk, 64<<10)
	def(&c.depth, 2)
	def(&c.pieces, 8)
	def(&c.window, 64)
	def(&c.keepMax, 64<<20)
	def(&c.keepNIC, 256<<10)
	if c.memory == nil {
		c.memory = &heapMemory{}
	}
	if c.finished == nil {
		c.finished = func() {}
	}
	switch {
	case c.wire == nil:
		return errors.New("nicrt: executor without a wire")
	case c.eagerMax < 0 || c.chunk < 1 || c.depth < 1 || c.pieces < 1 || c.keepMax < 0 || c.keepNIC < 0:
		return fmt.Errorf("nicrt: executor with a size below its least: %+v", *c)
	case c.window < 1 || c.window&(c.window-1) != 0 || c.window > 1<<20:
		return fmt.Errorf("nicrt: executor with a window of %d runs, expected a power of two up to 2^20", c.window)
	}
	return nil
}

// execStats counts what an executor has done.
type execStats struct {
	Runs         uint64 // rounds of schedules run to their end
	Failed       uint64 // runs that ended in an error
	Ops          uint64 // operations finished
	Sends        uint64 // messages given to the wire, without control messages
	BytesSent    uint64 // their payload
	Reads        uint64 // reads from a peer's memory
	BytesRead    uint64 // bytes they fetched
	BytesReduced uint64 // bytes combined
	Retries      uint64 // sends that the wire refused at first, each time
	Kept         uint64 // messages kept because their operation was not ready
	Spilled      uint64 // buffers for kept messages that NIC memory had no room for
	Refused      uint64 // messages left on the wire for want of room
	KeptBytes    int    // bytes of messages kept now
	KeptPeak     int    // largest KeptBytes so far
}

// The operations of the executor's messages, as Header.Op. Tag holds the
// number of the run in its high half and the slot in its low half, Aux the
// index of the sender in the group, Ctx the group.
const (
	// msgEager carries the payload of a Send.
	msgEager = iota + 1
	// msgRequest offers a long payload for reading: see offerLen.
	msgRequest
	// msgFinish says that an offered payload has been read.
	msgFinish
	// msgAbortRun says that the sender's run has failed. Its Tag has the number
	// of the last round of the run, which all members agree on whatever round
	// they are in.
	msgAbortRun
	// msgAbortGroup says that the sender has given up the group.
	msgAbortGroup
)

// maxGroups bounds group ids, which index a table.
const maxGroups = 1 << 20

// exec runs compiled schedules for the groups of one NIC. It is a state
// machine without goroutines, locks or clock: calls go in, calls to the wire
// and completions come out. The caller serialises all calls, of its groups too.
//
// Each operation has a counter, which every operation it waits for increments
// when it finishes, and its number of dependences for a threshold: the rule of
// triggered operations (see Counter) in four bytes, with the reset by the
// threshold built in.
type exec struct {
	cfg    execConfig
	wire   wire
	stats  execStats
	groups []*group // by id; nil where there is none, goneGroup where a failed one was closed
	failed []error  // by peer: why it is lost
	hdr    Header   // of the message being sent; not on the stack because the wire's method is dynamic

	inWire bool       // a method of the wire is running
	later  []lateNews // what it reported meanwhile

	idle    []*run    // run objects to use again
	stalled []stall   // sends that wait for room on the wire
	control []control // headers that wait for room on the wire
	kicking bool

	offerBytes [offerLen]byte // of the offer being sent

	reads   pieceTable
	starved []stall // receives that wait for a piece buffer
	temp    []byte  // for reversed reductions

	pool    keptPool
	orphans keptList // messages of groups that are not there yet
}

// goneGroup marks the place of a group that was closed.
var goneGroup = &group{err: ErrGroupClosed}

// newExec makes an executor.
func newExec(cfg execConfig) (*exec, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	e := &exec{cfg: cfg, wire: cfg.wire}
	e.pool.e = e
	return e, nil
}

// stall is an operation that waits for a resource.
type stall struct {
	run *run
	gen uint32 // of the run, which may have ended since
	op  int32
}

// control is a message without payload that has yet to be sent.
type control struct {
	peer int32
	hdr  Header
}

// send gives a message to the wire, after the control messages that wait for
// the same peer.
func (e *exec) send(g *group, member int, op uint8, tag uint64, payload []byte) bool {
	peer := g.peers[member]
	if len(e.control) > 0 && !e.flushControl(peer) {
		return false
	}
	e.hdr = Header{Program: e.cfg.program, Op: op, Aux: g.self, Ctx: g.id, Tag: tag}
	return e.put(peer, payload)
}

// put gives the header in e.hdr and a payload to the wire.
func (e *exec) put(peer int32, payload []byte) bool {
	e.inWire = true
	ok := e.wire.send(int(peer), &e.hdr, payload)
	e.inWire = false
	return ok
}

// lateNews is the end of a read, or the loss of a peer if peer >= 0.
type lateNews struct {
	peer  int
	token uint64
	err   error
}

// catchUp turns to what the wire reported while it was called. It is the last
// thing that entries to the executor do.
func (e *exec) catchUp() {
	for len(e.later) > 0 {
		l := e.later[0]
		n := copy(e.later, e.later[1:])
		e.later[n] = lateNews{}
		e.later = e.later[:n]
		if l.peer >= 0 {
			e.losePeer(l.peer, l.err)
		} else {
			e.endRead(l.token, l.err)
		}
	}
}

// tell sends a control message, now or when there is room.
func (e *exec) tell(g *group, member int, op uint8, tag uint64) {
	if e.lost(int(g.peers[member])) != nil || e.send(g, member, op, tag, nil) {
		return
	}
	e.stats.Retries++
	e.control = append(e.control, control{g.peers[member],
		Header{Program: e.cfg.program, Op: op, Aux: g.self, Ctx: g.id, Tag: tag}})
}

// flushControl sends waiting control messages and reports whether none is left
// for a peer.
func (e *exec) flushControl(peer int32) bool {
	none := true
	left := e.control[:0]
	for _, c := range e.control {
		e.hdr = c.hdr
		if !e.put(c.peer, nil) {
			left = append(left, c)
			none = none && c.peer != peer
		}
	}
	e.control = left
	return none
}

// busy reports whether kick has something to do.
func (e *exec) busy() bool { return len(e.stalled)+len(e.control)+len(e.later) > 0 }

// kick tries again to send what the wire refused, and turns to what the wire
// reported during calls that were not followed by catchUp.
func (e *exec) kick() {
	if !e.busy() || e.kicking || e.inWire {
		return
	}
	e.kicking = true
	e.flushControl(-1)
	n := len(e.stalled)
	for i := 0; i < n; i++ { // what stalls again is appended
		if s := e.stalled[i]; s.run.gen == s.gen && e.push(s.run, s.op) {
			e.step(s.run)
		}
	}
	rest := copy(e.stalled, e.stalled[n:])
	clear(e.stalled[rest:])
	e.stalled = e.stalled[:rest]
	e.kicking = false
	e.catchUp()
}

// lost gives the reason why a peer is lost, or nil.
func (e *exec) lost(peer int) error {
	if peer < len(e.failed) {
		return e.failed[peer]
	}
	return nil
}
