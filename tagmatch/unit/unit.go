package unit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"outboard/nicrt"
	"outboard/tagmatch"
)

// Program is the number under which the unit is installed on every NIC.
const Program = 1

// What a message is, in Header.Op.
const (
	opEager = iota + 1 // the payload is the data
	opRTS              // request to send: the payload is a rts
	opFIN              // Header.Tag is the id of the send whose buffer has been read
)

// ErrTruncate reports a message longer than the receive's buffer. The buffer
// holds the message's beginning; nothing past its end was touched.
var ErrTruncate = errors.New("message longer than the receive buffer")

// An Op is a send or a receive in flight. The caller owns the memory of the Op and of its
// buffer, and must not touch either from Send or Recv until Done is not zero. Then
// the other exported fields are valid and the Op may be used again.
type Op struct {
	Done atomic.Uint32
	// Err is nil, ErrTruncate, or why the operation failed.
	Err error
	// Source, Tag and Len are of the message: for a receive those that came, Len being the whole
	// message's length in bytes.
	Source, Tag int32
	Len         int

	key    tagmatch.Key
	buf    []byte
	handle tagmatch.Handle
	peer   int32
	state  opState
	rts    rts
}

type opState uint8

const (
	idle opState = iota
	posted
	queued  // send that waits for room on the wire
	waiting // send that waits for FIN
	reading // receive whose data is being read
)

// rts is what a request to send carries.
type rts struct {
	addr, len uint64
	key       uint32
	id        uint32 // of the send: index and generation
}

const rtsLen = 24

func (r *rts) encode() (b [rtsLen]byte) {
	binary.LittleEndian.PutUint64(b[0:], r.addr)
	binary.LittleEndian.PutUint64(b[8:], r.len)
	binary.LittleEndian.PutUint32(b[16:], r.key)
	binary.LittleEndian.PutUint32(b[20:], r.id)
	return b
}

func (r *rts) decode(b []byte) {
	r.addr, r.len = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	r.key, r.id = binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])
}

// message is one that came before its receive.
type message struct {
	peer        int32
	source, tag int32
	eager       bool
	data        []byte // eager: pooled copy
	rts         rts
}

func (m *message) length() int {
	if m.eager {
		return len(m.data)
	}
	return int(m.rts.len)
}

// A Unit is the match unit of one NIC. All its methods are called with the NIC's lock held.
type Unit struct {
	nic   *nicrt.NIC
	match *tagmatch.Engine[*Op, message]
	eager int // longest eager message
	pool  pool
	sends table
	reads table
	out   outbox
	stats Stats
}

// Stats counts what the unit has done.
type Stats struct {
	Eager, Rendezvous uint64 // messages received, by protocol
	Unexpected        uint64 // of these before their receive was posted
	Malformed         uint64 // messages that no unit sends, dropped
}

// New installs a match unit on a NIC. Messages up to eager bytes are sent with their data, longer ones by
// rendezvous; 0 stands for the longest that fits a packet.
func New(nic *nicrt.NIC, eager int) (*Unit, error) {
	if eager == 0 {
		eager = nic.EagerMax()
	}
	if eager < 0 || eager > nic.EagerMax() {
		return nil, fmt.Errorf("unit: eager limit of %d bytes: expected 0 to %d", eager, nic.EagerMax())
	}
	u := &Unit{nic: nic, eager: eager, match: tagmatch.New[*Op, message](tagmatch.Limits{})}
	u.out.init(nic.Peers())
	if _, err := nic.Install(Program, nicrt.Program{Name: "tagmatch", Resident: true, Header: u.arrive}); err != nil {
		return nil, err
	}
	nic.OnPoll(u.kick)
	nic.OnDown(u.failPeer)
	return u, nil
}

// Stats returns the counts so far.
func (u *Unit) Stats() Stats { return u.stats }

// EagerMax is the longest message that is sent with its data, in bytes.
func (u *Unit) EagerMax() int { return u.eager }

// Send sends buf to a peer under key k, whose Source is the sender's rank as the receiver
// knows it. Done means that buf may be used again.
func (u *Unit) Send(op *Op, peer int, k tagmatch.Key, buf []byte) {
	if len(buf) <= u.eager && u.out.empty(peer) {
		h := eagerHeader(k)
		if u.nic.Send(peer, &h, buf) {
			op.Err, op.Len = nil, len(buf)
			op.Done.Store(1)
			return
		}
	}
	u.sendSlow(op, peer, k, buf)
}

// TrySend sends a message of at most EagerMax bytes at once, or reports that it cannot. It is Send for a caller who need not
// wait, without an Op.
func (u *Unit) TrySend(peer int, k tagmatch.Key, buf []byte) bool {
	if !u.out.empty(peer) {
		return false
	}
	h := eagerHeader(k)
	return u.nic.Send(peer, &h, buf)
}

func eagerHeader(k tagmatch.Key) nicrt.Header { return header(opEager, k) }

func header(op uint8, k tagmatch.Key) nicrt.Header {
	return nicrt.Header{Program: Program, Op: op, Ctx: k.Ctx, Tag: uint64(uint32(k.Source))<<32 | uint64(uint32(k.Tag))}
}

func (u *Unit) sendSlow(op *Op, peer int, k tagmatch.Key, buf []byte) {
	op.start(k, buf)
	op.peer, op.Len = int32(peer), len(buf)
	if err := u.nic.PeerErr(peer); err != nil {
		u.finish(op, err)
		return
	}
	op.state = queued
	if len(buf) > u.eager {
		addr, key, err := u.nic.Expose(buf)
		if err != nil {
			u.finish(op, err)
			return
		}
		op.rts = rts{addr: addr, len: uint64(len(buf)), key: key, id: u.sends.add(op, op.peer, key)}
	}
	u.post(int(op.peer), item{op: op})
}

// Recv receives a message that matches k into buf.
func (u *Unit) Recv(op *Op, k tagmatch.Key, buf []byte) error {
	op.start(k, buf)
	h, m, matched, err := u.match.Post(k, op)
	if err != nil {
		return err
	}
	if !matched {
		op.handle, op.state = h, posted
		return nil
	}
	u.take(op, &m)
	return nil
}

func (op *Op) start(k tagmatch.Key, buf []byte) {
	op.Err, op.key, op.buf = nil, k, buf
	op.Done = atomic.Uint32{} // nobody else looks at it: no fence
}
