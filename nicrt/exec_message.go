package nicrt

import (
	"encoding/binary"
	"fmt"
)

// offer says where the payload of a long message lies at its sender.
type offer struct {
	addr uint64
	key  uint32
	len  uint64 // bytes
}

// offerLen is the length of an encoded offer: address, length and key, little
// endian.
const offerLen = 20

func (o *offer) encode(b *[offerLen]byte) {
	binary.LittleEndian.PutUint64(b[0:], o.addr)
	binary.LittleEndian.PutUint64(b[8:], o.len)
	binary.LittleEndian.PutUint32(b[16:], o.key)
}

func (o *offer) decode(b []byte) bool {
	if len(b) != offerLen {
		return false
	}
	o.addr = binary.LittleEndian.Uint64(b[0:])
	o.len = binary.LittleEndian.Uint64(b[8:])
	o.key = binary.LittleEndian.Uint32(b[16:])
	return true
}

// maxEager bounds the payload of a message that is kept before its schedule is
// known.
const maxEager = 1 << 30

// deliver takes a message from a peer of the NIC. The payload is not referred
// to after it returns. False means that there is no memory to keep it: the
// message, and what the same peer sent after it, is to be delivered again later. An error says
// that the message was taken but is of no use; it is a *MessageError. If the
// message contradicts the schedule of a run, that run has failed too.
func (e *exec) deliver(peer int, h *Header, payload []byte) (taken bool, err error) {
	if e.inWire {
		return false, nil
	}
	taken, err = e.dispatch(peer, h, payload)
	if len(e.later) > 0 {
		e.catchUp()
	}
	return taken, err
}

// dispatch finds what a message is for.
func (e *exec) dispatch(peer int, h *Header, payload []byte) (taken bool, err error) {
	if int64(h.Ctx) >= int64(len(e.groups)) || e.groups[h.Ctx] == nil {
		return e.orphan(peer, h, payload)
	}
	g := e.groups[h.Ctx]
	if g.err != nil {
		return true, e.strayf(peer, h, len(payload), "the group can do no more: %v", g.err)
	}
	if !g.sentBy(peer, h) {
		return true, e.strayf(peer, h, len(payload), "it is not member %d of the group's %d", h.Aux, len(g.peers))
	}
	switch h.Op {
	case msgEager, msgRequest:
		return g.receive(peer, h, payload)
	case msgFinish:
		return true, g.released(peer, h, len(payload))
	case msgAbortRun:
		g.abortRun(int(h.Aux), uint32(h.Tag>>32))
		return true, nil
	case msgAbortGroup:
		g.abortGroup(int(h.Aux))
		return true, nil
	}
	return true, e.strayf(peer, h, len(payload), "unknown operation, expected %d to %d", msgEager, msgAbortGroup)
}

// sentBy reports whether a message's sender is the member that it says it is.
func (g *group) sentBy(peer int, h *Header) bool {
	m := int(h.Aux)
	return m < len(g.peers) && int(g.peers[m]) == peer && m != int(g.self)
}

// stray makes the error about a message that is of no use.
func (e *exec) stray(peer int, h *Header, n int, reason string) *MessageError {
	return &MessageError{Peer: peer, Header: *h, Len: n, Reason: reason}
}

func (e *exec) strayf(peer int, h *Header, n int, format string, args ...any) error {
	return e.stray(peer, h, n, fmt.Sprintf(format, args...))
}

// orphan keeps a message for a group that is not there yet: members make a group
// at different times.
func (e *exec) orphan(peer int, h *Header, payload []byte) (bool, error) {
	switch {
	case h.Ctx >= maxGroups:
		return true, e.strayf(peer, h, len(payload), "no group can have this id, expected less than %d", maxGroups)
	case h.Op < msgEager || h.Op > msgAbortGroup:
		return true, e.strayf(peer, h, len(payload), "unknown operation, expected %d to %d", msgEager, msgAbortGroup)
	case len(payload) > maxEager:
		return true, e.strayf(peer, h, len(payload), "payload is too long, expected at most %d bytes", maxEager)
	}
	k := e.pool.put(peer, h, payload)
	if k == nil {
		return false, nil
	}
	e.orphans.push(k)
	return true, nil
}

// receive takes a message that a receive of some run waits for, or will.
func (g *group) receive(peer int, h *Header, payload []byte) (bool, error) {
	e, seq := g.e, uint32(h.Tag>>32)
	s := &g.ring[seq&g.mask]
	if s.run != nil && s.run.seq == seq {
		return e.arrive(s.run, peer, h, payload)
	}
	switch {
	case g.over(seq):
		err := e.strayf(peer, h, len(payload), "run %d has ended", seq)
		if !g.failures { // of which this could be a remnant: the members do not run the same schedules
			e.failGroup(g, err)
		}
		return true, err
	case len(payload) > maxEager:
		return true, e.strayf(peer, h, len(payload), "payload is too long, expected at most %d bytes", maxEager)
	}
	k := e.pool.put(peer, h, payload)
	if k == nil {
		return false, nil
	}
	s.early.push(k)
	return true, nil
}

// arrive takes a message for a run in progress.
func (e *exec) arrive(r *run, peer int, h *Header, payload []byte) (bool, error) {
	var off offer
	i, err := r.expect(int(h.Aux), h, payload, &off)
	if err != nil {
		return true, e.contradict(r, i, int32(peer), h, len(payload), err)
	}
	st := &r.state[i]
	if st.phase == opReady && h.Op == msgEager {
		if err := e.land(r, &r.c.ops[i], 0, payload); err != nil {
			e.fail(r, int(i), int(h.Aux), err)
			return true, nil
		}
		r.finish(i)
		e.step(r)
		return true, nil
	}
	k := e.pool.put(peer, h, payload)
	if k == nil {
		return false, nil
	}
	k.offer = off
	st.msg = k
	if st.phase == opReady && e.consume(r, i) {
		e.step(r)
	}
	return true, nil
}

// contradiction is what is wrong with a message for a run.
type contradiction string

func (c contradiction) Error() string { return string(c) }

// expect finds the receive for a message and checks that it fits. It fills in
// the offer if the message is one. The index is -1 if there is no receive.
func (r *run) expect(member int, h *Header, payload []byte, off *offer) (int32, error) {
	slot := uint32(h.Tag)
	i := r.c.recv.find(member, slot)
	if i < 0 {
		return -1, contradiction(fmt.Sprintf("%s receives no slot %d from member %d", r.c.schedule.Name, slot, member))
	}
	if st := &r.state[i]; st.msg != nil || st.phase > opReady {
		return i, contradiction("the message has come before")
	}
	n := uint64(len(payload))
	if h.Op == msgRequest {
		if !off.decode(payload) {
			return i, contradiction(fmt.Sprintf("an offer of %d bytes, expected %d", len(payload), offerLen))
		}
		n = off.len
	}
	if want := r.c.ops[i].dstLen; n != uint64(want) {
		return i, contradiction(fmt.Sprintf("a payload of %d bytes, expected %d", n, want))
	}
	return i, nil
}

// contradict fails a run over a message that does not fit its schedule.
func (e *exec) contradict(r *run, op, peer int32, h *Header, n int, why error) error {
	err := e.stray(int(peer), h, n, why.Error())
	e.fail(r, int(op), int(h.Aux), err)
	return err
}

// released ends a Send whose payload the peer has read.
func (g *group) released(peer int, h *Header, n int) error {
	e, seq, member := g.e, uint32(h.Tag>>32), int(h.Aux)
	r := g.ring[seq&g.mask].run
	if r == nil || r.seq != seq {
		return e.strayf(peer, h, n, "run %d is not in progress", seq)
	}
	i := r.c.send.find(member, uint32(h.Tag))
	if i < 0 || !r.state[i].exposed || r.state[i].phase != opMoving {
		return e.contradict(r, i, int32(peer), h, n, contradiction("nothing was offered"))
	}
	e.wire.conceal(r.state[i].key)
	r.state[i].exposed = false
	r.finish(i)
	e.step(r)
	return nil
}
