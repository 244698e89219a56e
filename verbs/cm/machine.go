package cm

import (
	"fmt"
	"time"

	"outboard/verbs/internal/ib"
)

// A state of an exchange (IBTA 12.9.5). REP_RCVD lasts while the queue pair is moved; a DREQ is answered at once, so that there
// is no DREQ_RCVD.
type state uint8

const (
	idle       state = iota // over: the machine has forgotten it
	reqSent                 // active side
	mraREQRcvd              // the peer needs more time
	repRcvd
	reqRcvd    // passive side: the program is asked
	mraREQSent // and the peer has been told to wait
	repSent
	mraREPRcvd
	rejected // by the program: duplicates of the REQ get the REJ again
	established
	dreqSent
	timewait
	numStates
)

var stateText = [numStates]string{"IDLE", "REQ_SENT", "MRA_REQ_RCVD", "REP_RCVD", "REQ_RCVD", "MRA_REQ_SENT", "REP_SENT", "MRA_REP_RCVD",
	"REJECTED", "ESTABLISHED", "DREQ_SENT", "TIMEWAIT"}

func (s state) String() string {
	if s < numStates {
		return stateText[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// settingUp tells whether the connection is not up yet.
func (s state) settingUp() bool { return s >= reqSent && s <= mraREPRcvd }

// passiveREQ tells whether the program has not answered a request.
func (s state) passiveREQ() bool { return s == reqRcvd || s == mraREQSent }

// An exchange is one end of a connection, from the first message to the end of TIMEWAIT.
type exchange struct {
	id, remoteID        uint32 // communication IDs
	peer                string // address of its port
	tid                 uint64 // of the messages that set the connection up
	state               state
	localQPN, remoteQPN uint32
	service             *service // of a request that nobody has taken
	req                 *ib.REQ  // that came
	rep                 *ib.REP  // that came, or went
	owner               owner

	// The message that is repeated until it is answered.
	last     ib.CMMessage
	lastTID  uint64
	left     int // repeats
	interval time.Duration
	deadline time.Time // zero: nothing is awaited
}

// owner hears of what happens. It is called with the agent's lock held.
type owner interface{ happened(*exchange, Event) }

// A service is what somebody listens for.
type service struct {
	id      uint64
	backlog int // requests that may wait
	waiting int // requests that nobody has taken
	owner   owner
}

// remoteID names an exchange as its peer does.
type remoteID struct {
	peer string
	id   uint32
}

// timing says how long the machine waits, in codes of 4.096 µs × 2^n, and how often.
type timing struct {
	response uint8 // for the answer to a message
	service  uint8 // that an MRA asks for
	retries  uint8 // of a message, at most 15
	timewait uint8
}

// defaultTiming: the answer comes from the same machine, within 134 ms. rdma_cm has 20, 24 and 15.
var defaultTiming = timing{response: 15, service: 20, retries: 15, timewait: 15}

// maxCode bounds what a peer may ask for: 69 s.
const maxCode = 24

func (t timing) of(code uint8) time.Duration { return 4096 * time.Nanosecond << min(code, maxCode) }

// A machine is the communication manager of one port: pure, and not for concurrent use. Whoever drives it sets now, calls a method,
// and takes out and news.
type machine struct {
	addr     string // of the port
	maxMTU   uint8  // code
	timing   timing
	random   func() uint32
	now      time.Time
	byID     map[uint32]*exchange
	byRemote map[remoteID]*exchange // passive ones
	services map[uint64]*service
	tid      uint64
	out      []letter
	news     []news
}

type letter struct {
	to  string
	mad *ib.MAD
}

type news struct {
	to owner
	x  *exchange
	ev Event
}

func newMachine(addr string, maxMTU uint8, t timing, random func() uint32) *machine {
	return &machine{addr: addr, maxMTU: maxMTU, timing: t, random: random, tid: uint64(random()) << 32,
		byID: map[uint32]*exchange{}, byRemote: map[remoteID]*exchange{}, services: map[uint64]*service{}}
}

// post sends a message once.
func (m *machine) post(to string, tid uint64, msg ib.CMMessage) {
	m.out = append(m.out, letter{to, ib.NewCM(tid, msg)})
}

// pursue sends a message until it is answered.
func (m *machine) pursue(x *exchange, tid uint64, msg ib.CMMessage, every time.Duration) {
	x.last, x.lastTID, x.interval, x.left = msg, tid, every, int(m.timing.retries)
	x.deadline = m.now.Add(every)
	m.post(x.peer, tid, msg)
}

func (m *machine) tell(x *exchange, t EventType, err error) {
	if x.owner != nil {
		m.news = append(m.news, news{x.owner, x, Event{t, err}})
	}
}

func (m *machine) nextTID() uint64 {
	m.tid++
	return m.tid
}

// add gives an exchange a communication ID that is not in use.
func (m *machine) add(x *exchange) {
	for x.id == 0 || m.byID[x.id] != nil {
		x.id = m.random()
	}
	m.byID[x.id] = x
}

// drop forgets an exchange.
func (m *machine) drop(x *exchange) {
	if m.byID[x.id] != x {
		return
	}
	m.untake(x)
	delete(m.byID, x.id)
	if r := (remoteID{x.peer, x.remoteID}); m.byRemote[r] == x {
		delete(m.byRemote, r)
	}
	x.state, x.deadline = idle, time.Time{}
}

// untake takes a request from the backlog of its service.
func (m *machine) untake(x *exchange) {
	if x.service != nil {
		x.service.waiting--
		x.service = nil
	}
}

// next is when tick is due, zero for never.
func (m *machine) next() (at time.Time) {
	for _, x := range m.byID {
		if !x.deadline.IsZero() && (at.IsZero() || x.deadline.Before(at)) {
			at = x.deadline
		}
	}
	return at
}

// tick does what is due by now.
func (m *machine) tick() {
	for _, x := range m.byID {
		if x.deadline.IsZero() || x.deadline.After(m.now) {
			continue
		}
		switch {
		case x.left > 0:
			x.left--
			x.deadline = m.now.Add(x.interval)
			m.post(x.peer, x.lastTID, x.last)
		case x.state == rejected:
			m.drop(x)
		case x.state == timewait:
			m.tell(x, TimewaitExit, nil)
			m.drop(x)
		case x.state == dreqSent:
			m.disconnected(x, errNoAnswer)
		default:
			m.giveUp(x, Timeout, nil)
			m.tell(x, Unreachable, errNoAnswer)
		}
	}
}

// unreachable ends what waits for a port that is not there.
func (m *machine) unreachable(peer string, err error) {
	for _, x := range m.byID {
		if x.peer == peer {
			m.gone(x, err)
		}
	}
}

// lost ends the connection of a queue pair whose wire is gone. If it was up the peer is told, once: it may live.
func (m *machine) lost(qpn uint32, err error) {
	for _, x := range m.byID {
		if x.localQPN != qpn || x.state.passiveREQ() {
			continue
		}
		if x.state == established {
			m.post(x.peer, m.nextTID(), m.dreq(x))
		}
		m.gone(x, err)
	}
}

func (m *machine) gone(x *exchange, err error) {
	switch {
	case x.state == established || x.state == dreqSent:
		m.disconnected(x, fmt.Errorf("%w: %w", ErrLost, err))
	case x.state.settingUp():
		m.tell(x, Unreachable, fmt.Errorf("%w: %w", ErrUnreachable, err))
		m.drop(x)
	case x.state == rejected:
		m.drop(x)
	}
}

// remind repeats at once what awaits an answer from a port: if it is not there any more, that tells.
func (m *machine) remind(peer string) {
	for _, x := range m.byID {
		switch {
		case x.peer != peer:
		case x.state.passiveREQ():
			m.postMRA(x)
		case x.last != nil && (x.state.settingUp() || x.state == dreqSent):
			m.post(peer, x.lastTID, x.last)
		}
	}
}

// removed ends everything: the device is closed.
func (m *machine) removed(err error) {
	for _, x := range m.byID {
		m.tell(x, DeviceRemoval, fmt.Errorf("%w: %w", ErrLost, err))
		m.drop(x)
	}
}

// recv takes a datagram. What is no message of a communication manager, or fits no exchange and asks nothing, is dropped.
func (m *machine) recv(from string, mad *ib.MAD) {
	msg, err := mad.CM()
	if err != nil {
		return
	}
	switch msg := msg.(type) {
	case *ib.REQ:
		m.recvREQ(from, mad.TID, msg)
	case *ib.MRA:
		m.recvMRA(from, msg)
	case *ib.REP:
		m.recvREP(from, mad.TID, msg)
	case *ib.RTU:
		m.recvRTU(from, msg)
	case *ib.REJ:
		m.recvREJ(from, msg)
	case *ib.DREQ:
		m.recvDREQ(from, mad.TID, msg)
	case *ib.DREP:
		m.recvDREP(from, msg)
	}
}

// find gives the exchange that a message with these IDs belongs to.
func (m *machine) find(from string, remote, local uint32) *exchange {
	x := m.byID[local]
	if x == nil || x.peer != from || x.remoteID != remote {
		return nil
	}
	return x
}
