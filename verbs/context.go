package verbs

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
	"outboard/verbs/internal/trace"
)

// A Context is an open device: one NIC. Every object made from it belongs
// to it, and objects of two contexts do not mix.
//
// The NIC inside is a state machine that runs only when somebody runs it: a
// call that posts, a call that polls, a goroutine that waits, or, while the
// host does neither, the context's progress goroutine. One lock serialises them.
type Context struct {
	port   fabric.Port
	mtu    int
	limits Limits

	mu         sync.Mutex
	closed     bool
	pdNum      uint32
	pds, cqs   int // live ones
	counters   int
	keys       keyTable
	qps        []*QP // by slot, which is the fabric's cookie
	freeSlots  []uint32
	active     []*QP                // with unsent, unacknowledged or unanswered work
	idle       []*QP                // the list's other buffer
	stage      []byte               // one packet gathered from many pieces
	packet     Packet               // handed to sinks
	header     fabric.Header        // of the packet being sent; here and below: what would escape through an interface
	scratch    [16]byte             // its payload, if that is made up
	region     fabric.Region        // of the direct access in progress
	hook       func() time.Duration // of the NIC-resident runtime, after each poll
	hookNap    time.Duration
	again      bool // the runtime has work that no arrival will remind it of
	refused    bool // a sink refused a packet since the last nap
	knock      func(endpoint int)
	deep       bool // somebody sleeps, or did, with no limit and no work left
	stirred    bool // a queue pair has released another one since that was run
	progressed bool // something completed for a host goroutine that may be asleep
	devMem     []memRange
	events     chan AsyncEvent
	channels   []*CompChannel
	clock      func() time.Time
	tick       time.Time // clock's reading in this poll, see now

	packets  bool // queue pairs talk in IBTA packets
	lanes    lanes
	uds      []*QP // of UD, by number
	gids     [2]GID
	ibHeader ib.Header // of the packet being sent or received
	frame    []byte    // the packet being sent
	inbox    []byte    // the packet being received
	trace    *trace.Writer
	onMAD    func(from string, mad []byte)
	onDown   func(addr string, qpn uint32, err error)
	madSeq   uint32
	hw       HWCounters
	srqNum   uint32
	srqs     int // live ones
	ahs      int

	wait     WaitPolicy
	visits   uint64       // polls
	sleepers atomic.Int32 // goroutines asleep in Wait
	thread   progress
}

func newContext(port fabric.Port, packets bool, w *trace.Writer) *Context {
	a := port.Attr()
	l := limitsOf(a)
	c := &Context{port: port, mtu: a.MTU, limits: l, stage: make([]byte, a.MTU), clock: time.Now, wait: DefaultWait(a.Name),
		events: make(chan AsyncEvent, maxEvents)}
	c.keys.limit = a.Regions
	c.packets, c.trace = packets, w
	c.gids = [...]GID{ib.LinkLocal(port.Addr()), ib.GIDOf(port.Addr())}
	c.frame = make([]byte, 0, ib.MaxHeaders+maxIBMTU+ib.MaxPad+ib.ICRCLen)
	c.inbox = make([]byte, cap(c.frame))
	c.lanes.init(c, a.Endpoints)
	c.startProgress()
	return c
}

// Addr is the port's address, which the peer puts into QPAttr.AV.
func (c *Context) Addr() string { return c.port.Addr() }

// Limits are the device's limits. FabricAttr describes the wire.
func (c *Context) Limits() Limits          { return c.limits }
func (c *Context) FabricAttr() fabric.Attr { return c.port.Attr() }

type memRange struct{ base, len uint64 }

// AllocMem returns zeroed memory of the device: page-aligned, and mapped by every
// process that connects to this context, so that one-sided operations on it are
// plain copies. It is an ordinary slice until FreeMem or Close, and unusable afterwards.
func (c *Context) AllocMem(n int) ([]byte, error) {
	if n <= 0 {
		return nil, opErr("alloc_mem", "", ErrInvalid, "%d bytes: expected at least 1", n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, opErr("alloc_mem", "", ErrDestroyed, "context is closed")
	}
	b, err := c.port.AllocMem(n)
	if err != nil {
		return nil, &Error{Op: "alloc_mem", Err: err}
	}
	c.devMem = append(c.devMem, memRange{AddrOf(b), uint64(len(b))})
	return b, nil
}

// FreeMem returns memory of AllocMem. ErrBusy while a region covers it.
func (c *Context) FreeMem(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return opErr("free_mem", "", ErrDestroyed, "context is closed")
	}
	base, n := AddrOf(b), uint64(len(b))
	if m := c.keys.covering(base, n); m != nil {
		return opErr("free_mem", "", ErrBusy, "MR %#x covers it", m.key)
	}
	if err := c.port.FreeMem(b); err != nil {
		return &Error{Op: "free_mem", Err: err}
	}
	for i, r := range c.devMem {
		if r.base == base {
			c.devMem = append(c.devMem[:i], c.devMem[i+1:]...)
			break
		}
	}
	return nil
}

func (c *Context) isDeviceMem(addr uint64) bool {
	for _, r := range c.devMem {
		if addr-r.base < r.len {
			return true
		}
	}
	return false
}

// Close closes the device: queue pairs vanish, regions are unpinned, the port
// leaves the wire and peers see their queue pairs fail. Whoever waits gets ErrDestroyed.
func (c *Context) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return opErr("close_device", "", ErrDestroyed, "closed before")
	}
	// What fails below fails because the wire is gone already.
	for _, q := range c.qps {
		if q != nil {
			_ = q.destroy()
		}
	}
	c.keys.releaseAll()
	for _, ch := range c.channels {
		ch.end()
	}
	c.closed, c.progressed = true, true
	c.down("", 0, ErrDestroyed)
	c.unlock()
	c.stopProgress()
	err := c.port.Close()
	if c.trace != nil {
		err = errors.Join(err, c.trace.Flush())
	}
	if err != nil {
		return &Error{Op: "close_device", Err: err}
	}
	return nil
}

// now is the time of this poll: read from the clock once.
func (c *Context) now() time.Time {
	if c.tick.IsZero() {
		c.tick = c.clock()
	}
	return c.tick
}

func (c *Context) cqOverflow(cq *CQ) {
	c.event(AsyncEvent{Type: EventCQErr, CQ: cq, Err: ErrOverflow})
	for _, q := range c.qps {
		if q != nil && (q.init.SendCQ == cq || q.init.RecvCQ == cq || q.recvCQ() == cq) {
			q.fail(LocQPOpErr, "completion queue overflow")
		}
	}
}

func (c *Context) freeSlot() uint32 {
	if n := len(c.freeSlots); n > 0 {
		s := c.freeSlots[n-1]
		c.freeSlots = c.freeSlots[:n-1]
		return s
	}
	c.qps = append(c.qps, nil)
	return uint32(len(c.qps) - 1)
}

const pollBudget = 64 // packets: bounds how long one poll holds the lock

// poll runs the NIC once: arrivals, then queue pairs with work left, then the
// NIC-resident runtime. It returns how many packets arrived.
func (c *Context) poll() int {
	if c.closed {
		return 0
	}
	c.visits++
	c.tick = time.Time{}
	if c.thread.armed.Load() {
		c.visit()
	}
	n := c.port.Poll((*receiver)(c), pollBudget)
	if c.lanes.scant && c.visits%laneLook == 0 {
		c.lanes.makeRoom()
	}
	if len(c.active) > 0 {
		c.stirred = false
		c.runActive()
		c.settle()
	}
	if c.again && c.hook != nil {
		c.again = false
		c.hookNap = c.hook()
		c.settle()
	}
	return n
}

// runActive runs the queue pairs with work left. Those that are woken meanwhile, by a Sink for
// example, wait for the next poll.
func (c *Context) runActive() {
	run := c.active
	c.active, c.idle = c.idle[:0], nil
	for i, q := range run {
		run[i], q.active = nil, false
		if !q.dead && q.progress() {
			q.wake()
		}
	}
	c.idle = run[:0]
}

// maxChain is how many rounds queue pairs that release each other are run in one go.
const maxChain = 64

// settle runs the queue pairs that others have released.
func (c *Context) settle() {
	for n := 0; c.stirred && n < maxChain; n++ {
		c.stirred = false
		c.runActive()
	}
}

// receiver is the Context as the fabric sees it.
type receiver Context

func (r *receiver) Packet(cookie uint32, h *fabric.Header, payload []byte) bool {
	if cookie&laneCookie != 0 {
		r.lanes.packet(cookie, h, payload)
		return true
	}
	if int(cookie) >= len(r.qps) || r.qps[cookie] == nil {
		return false // of a queue pair that is gone
	}
	return r.qps[cookie].arrive(h, payload)
}

func (r *receiver) Knock(ep int) {
	switch {
	case r.lanes.has(ep):
		r.lanes.knock(ep)
	case r.knock != nil:
		r.knock(ep)
	}
}

func (r *receiver) Down(cookie uint32, err error) {
	if cookie&laneCookie != 0 {
		r.lanes.down(cookie, err)
		return
	}
	if int(cookie) < len(r.qps) && r.qps[cookie] != nil {
		q := r.qps[cookie]
		addr := q.attr.AV
		q.down(err)
		(*Context)(r).down(addr, q.qpn, err)
		r.again = true
	}
}
