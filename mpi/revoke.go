package mpi

import (
	"fmt"
	"strings"

	"outboard/nicrt"
)

// A communicator may fail on one rank for a reason of its own: counts
// that disagree, an operator that panics, a deadline. Its other ranks may not notice, and
// would wait for messages that nobody will send. So the rank revokes it: a message to each member
// ends everything on the communicator there too, as MPIX_Comm_revoke does in ULFM (Bland et al.,
// IJHPCA 27(3), 2013).

// revokeProgram is the number of the program that hears revocations. Header.Ctx of a message is the
// communicator's id, the payload says why.
const revokeProgram = 2

const (
	// maxReason bounds the text of a revocation, in bytes.
	maxReason = 1000
	// maxEarly bounds the communicators not made yet whose revocation is remembered.
	maxEarly = 1024
)

// revocation is one that has come.
type revocation struct {
	id   uint32
	peer int
	text string
}

// notice is one to be sent.
type notice struct {
	peer int
	id   uint32
	text []byte
}

// revoked is the cause of the errors that a revocation brings.
type revoked struct {
	rank int // in the communicator
	text string
}

func (r *revoked) Error() string { return fmt.Sprintf("%v by rank %d: %s", ErrAborted, r.rank, r.text) }
func (r *revoked) Unwrap() error { return ErrAborted }

// culprit is the rank that made a communicator fail, or -1.
func culprit(why error) int {
	switch w := why.(type) {
	case *procFailed:
		return w.rank
	case *revoked:
		return w.rank
	}
	return -1
}

// revoke fails a communicator here and on its other ranks. The caller holds the NIC's lock and p.mu.
func (p *proc) revoke(c *comm, why error) {
	if !p.fail(c, why) {
		return
	}
	text := []byte(why.Error())
	text = text[:min(len(text), maxReason, p.nic.EagerMax())]
	for _, peer := range c.ranks {
		if peer != p.rank {
			p.notices = append(p.notices, notice{peer, c.id, text})
		}
	}
	p.sendNotices()
}

// sendNotices sends what there is room for; the NIC asks again after a poll. The caller holds the NIC's lock.
func (p *proc) sendNotices() {
	left := p.notices[:0]
	for _, n := range p.notices {
		h := nicrt.Header{Program: revokeProgram, Ctx: n.id}
		if !p.nic.Send(n.peer, &h, n.text) && p.nic.PeerErr(n.peer) == nil {
			left = append(left, n)
		}
	}
	clear(p.notices[len(left):])
	p.notices = left
}

// hearRevocation is the program's header handler. The NIC is in the middle of a poll, so the news is only noted.
func (p *proc) hearRevocation(t *nicrt.Task) nicrt.Verdict {
	text := t.Payload()
	if !t.First() || !t.Last() || len(text) > maxReason {
		return nicrt.Fail
	}
	p.revoked = append(p.revoked, revocation{t.Header().Ctx, t.Peer(), strings.ToValidUTF8(string(text), "?")})
	return nicrt.Drop
}

// obey fails the communicator that a member has revoked, now or when it is made. The caller holds the NIC's lock and p.mu.
func (p *proc) obey(r revocation) {
	c := p.comms[r.id]
	if c == nil {
		if len(p.early) < maxEarly && len(p.early[r.id]) < p.size {
			p.early[r.id] = append(p.early[r.id], r)
		}
		return
	}
	if rank := c.rankOf(r.peer); rank >= 0 {
		p.fail(c, &revoked{rank, r.text})
	}
}
