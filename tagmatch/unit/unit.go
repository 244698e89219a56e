package unit

import (
	"outboard/nicrt"
	"outboard/tagmatch"
)

// A Unit is the match unit of one NIC. All its methods are called with the NIC's lock held.
type Unit struct {
	nic   *nicrt.NIC
	match *tagmatch.Engine[*Op, message]
	eager int // longest eager message
	out   outbox

	notices  []notice // revocations that wait for room on the wire
	onRevoke func(ctx uint32, peer int, why string)

	pool  pool
	sends table
	ended contexts
	stats Stats
}

// Stats counts what the unit has done.
type Stats struct {
	Eager, Rendezvous uint64 // messages received, by protocol
	Unexpected        uint64 // of these kept until their receive was posted
	Refused           uint64 // of these dropped because their context has ended
	Malformed         uint64 // messages that no unit sends, dropped
}

// New installs a match unit on a NIC. Messages up to eager bytes are sent with their data, longer ones by
// rendezvous; 0 stands for the longest that fits a packet, and more than that is a *RangeError. It is called without the lock, before the first
// message can arrive.
func New(nic *nicrt.NIC, eager int) (*Unit, error) {
	if eager < 0 || eager > nic.EagerMax() {
		return nil, &RangeError{What: "eager limit", Value: eager, Max: nic.EagerMax()}
	}
	if eager == 0 {
		eager = nic.EagerMax()
	}
	u := &Unit{nic: nic, eager: eager, match: tagmatch.New[*Op, message](tagmatch.Limits{}), sends: newTable()}
	u.out.queues = make([]queue, nic.Peers())
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

// TrySend sends a short message at once, or reports that it cannot: the wire has no room, earlier messages
// wait, buf is longer than EagerMax, or Send would report an error. It is Send for a caller who need not wait, without an Op.
func (u *Unit) TrySend(peer int, k tagmatch.Key, buf []byte) bool {
	if uint(peer) >= uint(len(u.out.queues)) || len(u.out.queues[peer].items) > 0 || len(buf) > u.eager || k.Source|k.Tag < 0 {
		return false
	}
	h := header(opEager, k)
	return u.nic.Send(peer, &h, buf)
}

// Send sends buf to a peer under key k, whose Source is the sender's rank as the receiver
// knows it. Done without an error means that buf may be used again; with one, that a peer which had the
// message announced may still read it.
func (u *Unit) Send(op *Op, peer int, k tagmatch.Key, buf []byte) {
	if u.TrySend(peer, k, buf) {
		op.Err, op.Len = nil, len(buf)
		op.Done.Store(1)
		return
	}
	op.start(k, buf)
	op.Len = len(buf)
	if err := u.startSend(op, peer, k, buf); err != nil {
		u.finish(op, err)
	}
}

// startSend sends the first packet of op's message, now or when there is room. On an error nothing is started.
func (u *Unit) startSend(op *Op, peer int, k tagmatch.Key, buf []byte) error {
	if peer < 0 || peer >= len(u.out.queues) {
		return &RangeError{What: "peer", Value: peer, Max: len(u.out.queues) - 1}
	}
	if err := checkSource(k); err != nil {
		return err
	}
	if err := u.ended.err(k.Ctx); err != nil {
		return err
	}
	if err := u.nic.PeerErr(peer); err != nil {
		return err
	}
	op.peer = int32(peer)
	if len(buf) > u.eager {
		if err := u.expose(op, buf); err != nil {
			return err
		}
	}
	op.state = queued
	u.post(peer, item{op: op})
	return nil
}

// checkSource reports a key that no message can have.
func checkSource(k tagmatch.Key) error {
	switch {
	case k.Source < 0:
		return &tagmatch.KeyError{Key: k, Field: "source", Value: k.Source, Want: "0 or more"}
	case k.Tag < 0:
		return &tagmatch.KeyError{Key: k, Field: "tag", Value: k.Tag, Want: "0 or more"}
	}
	return nil
}

// expose lets the peer read the buffer of a send.
func (u *Unit) expose(op *Op, buf []byte) error {
	if u.sends.full() {
		return ErrTooMany
	}
	addr, key, err := u.nic.Expose(buf)
	if err != nil {
		return err
	}
	op.rts = rts{addr: addr, len: uint64(len(buf)), key: key, id: u.sends.add(op, op.peer, key)}
	return nil
}

// Recv receives a message that matches k into buf. The error is a *tagmatch.KeyError or *tagmatch.FullError; the Op was not used then.
func (u *Unit) Recv(op *Op, k tagmatch.Key, buf []byte) error {
	op.start(k, buf)
	h, m, matched, err := u.match.Post(k, op)
	switch {
	case err != nil:
		op.buf = nil
		return err
	case matched:
		u.take(op, &m)
		return nil
	}
	op.handle, op.state = h, posted
	if err := u.ended.err(k.Ctx); err != nil {
		u.Cancel(op, err)
	}
	return nil
}
