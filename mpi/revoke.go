package mpi

import "fmt"

// A communicator may fail on one rank for a reason of its own: counts that disagree, an operator that panics,
// a deadline. Its other ranks may not notice, and would wait for messages that nobody will send. So the rank
// revokes it, which ends everything on the communicator there too.

// maxEarly bounds the communicators not made yet whose revocation is remembered.
const maxEarly = 1024

// revocation is one that has come.
type revocation struct {
	id   uint32
	peer int
	text string
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
	others := make([]int, 0, len(c.ranks))
	for _, peer := range c.ranks {
		if peer != p.rank {
			others = append(others, peer)
		}
	}
	p.unit.Revoke(c.id, others, why)
}

// hearRevocation hears of one. The NIC is in the middle of a poll, so the news is only noted.
func (p *proc) hearRevocation(id uint32, peer int, why string) {
	p.revoked = append(p.revoked, revocation{id, peer, why})
	p.nic.Again()
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
