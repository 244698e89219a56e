package mpi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"outboard/nicrt"
)

// A Comm is a communicator: an ordered group of ranks with a message space of
// its own (MPI 4.1, 7.2). All its methods, and all functions that take it, may be called
// by any goroutine at any time, but the calls of collective operations on one
// communicator must come in the same order on every rank, so they are made by one
// goroutine at a time.
//
// When a process of the group fails, every operation on the communicator, pending or to
// come, returns an error that is ErrProcFailed and names the rank.
type Comm struct {
	*comm
	ctx context.Context // of the waits of this view, or nil
}

// comm is what all views of a communicator share.
type comm struct {
	p      *proc
	id     uint32
	name   string
	rank   int
	ranks  []int // rank → peer of the NIC
	group  *nicrt.Group
	broken atomic.Pointer[error] // why nothing can be done on it any more
	freed  atomic.Bool
	plans  planCache
	spare  *nicrt.Completion // for the next collective; guarded by the NIC's lock
}

// newComm makes a communicator of the given peers, of which this process must be one.
func (p *proc) newComm(id uint32, name string, ranks []int) (*Comm, error) {
	c := &comm{p: p, id: id, name: name, ranks: ranks, rank: slices.Index(ranks, p.rank)}
	c.plans.init()
	p.nic.Lock()
	defer p.nic.Unlock()
	group, err := p.nic.Group(id, ranks, c.rank)
	if err != nil {
		return nil, err
	}
	c.group = group
	p.mu.Lock()
	defer p.mu.Unlock()
	p.comms[id] = c
	if p.aborted != nil {
		p.fail(c, p.aborted)
	}
	for peer, why := range p.lost {
		if r := c.rankOf(peer); r >= 0 {
			p.fail(c, &procFailed{rank: r, why: why})
		}
	}
	early := p.early[id]
	delete(p.early, id)
	for _, r := range early {
		p.obey(r)
	}
	return &Comm{comm: c}, nil
}

// rankOf is the rank of a peer, or -1.
func (c *comm) rankOf(peer int) int {
	if peer < len(c.ranks) && c.ranks[peer] == peer {
		return peer
	}
	return slices.Index(c.ranks, peer)
}

// Rank is the calling process's rank in the group, Size the number of ranks, Name the communicator's name.
func (c *Comm) Rank() int    { return c.rank }
func (c *Comm) Size() int    { return len(c.ranks) }
func (c *Comm) Name() string { return c.name }

// With returns a view of the communicator whose waits end when ctx does: a
// call that has to wait returns ctx's error then. What becomes of the operation:
//
//   - Recv takes its receive back, unless a message has matched it: then it waits
//     for the data.
//   - Send, of a message that the receiver reads from the buffer, gives up waiting; the receiver may
//     still read the buffer.
//   - a collective cannot be left alone by one rank: the communicator fails on all
//     ranks with ErrAborted.
func (c *Comm) With(ctx context.Context) *Comm { return &Comm{comm: c.comm, ctx: ctx} }

// Account says what the rank's NIC has done.
func (c *Comm) Account() nicrt.Account { return c.p.nic.Account() }

// check is what every operation begins with.
func (c *Comm) check(op string) error {
	switch {
	case c == nil || c.comm == nil:
		return (*Comm)(nil).errorf(op, ErrComm, "the communicator is nil")
	case c.freed.Load():
		return c.errorf(op, ErrFreed, "communicator %s", c.name)
	}
	if why := c.broken.Load(); why != nil {
		return c.brokenErr(op, *why)
	}
	return nil
}

// brokenBy tells why the communicator has failed, or nil. If err is of a kind that the loss
// of a process brings, the news of that may be on its way, and is waited for.
func (c *Comm) brokenBy(err error) error {
	var peer *nicrt.PeerError
	if c.broken.Load() == nil && (errors.Is(err, nicrt.ErrAborted) || errors.As(err, &peer)) {
		ctx, cancel := context.WithTimeout(context.Background(), lossNotice)
		defer cancel()
		// If it does not come there is no more to tell.
		_ = c.p.nic.WaitFor(ctx, func() bool { return c.broken.Load() != nil })
	}
	if why := c.broken.Load(); why != nil {
		return *why
	}
	return nil
}

func (c *Comm) brokenErr(op string, why error) *Error {
	e := c.errorf(op, why, "")
	e.Peer = culprit(why)
	return e
}

// Dup makes a communicator of the same ranks, whose messages do not mix with
// this one's (MPI 4.1, 7.4.2). Collective.
func (c *Comm) Dup() (*Comm, error) {
	if err := c.check("Dup"); err != nil {
		return nil, err
	}
	id, err := c.agreeOnID()
	if err != nil {
		return nil, err
	}
	return c.make(id, c.name+".dup", c.ranks)
}

// Undefined as the color of Split gives no communicator.
const Undefined = -1

// Split makes a communicator of those ranks that give the same color, ordered by key
// and, for equal keys, by rank (MPI 4.1, 7.4.2). A rank that gives Undefined gets nil; other
// negative colors are an error, which all ranks get. Collective.
func (c *Comm) Split(color, key int) (*Comm, error) {
	const op = "Split"
	if err := c.check(op); err != nil {
		return nil, err
	}
	type entry struct{ color, key, rank int }
	mine := []int64{int64(color), int64(key)}
	all := make([]int64, 2*c.Size())
	if err := Allgather(c, mine, all); err != nil {
		return nil, err
	}
	var members []entry
	for r := range c.Size() {
		e := entry{int(all[2*r]), int(all[2*r+1]), r}
		if e.color < Undefined {
			return nil, c.errorf(op, ErrColor, "rank %d gives color %d: expected 0 or more, or Undefined", r, e.color)
		}
		if e.color == color {
			members = append(members, e)
		}
	}
	id, err := c.agreeOnID()
	if err != nil {
		return nil, err
	}
	if color == Undefined {
		c.p.ids.free(id)
		return nil, nil
	}
	slices.SortStableFunc(members, func(a, b entry) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.rank, b.rank)) })
	ranks := make([]int, len(members))
	for i, m := range members {
		ranks[i] = c.ranks[m.rank]
	}
	return c.make(id, fmt.Sprintf("%s.split(%d)", c.name, color), ranks)
}

// make makes a communicator with an id that its ranks have agreed on.
func (c *Comm) make(id uint32, name string, ranks []int) (*Comm, error) {
	made, err := c.p.newComm(id, name, ranks)
	if err != nil {
		c.p.ids.free(id)
		return nil, c.errorf("Dup", err, "")
	}
	return made, nil
}

// Free gives the communicator up (MPI 4.1, 7.4.3). Collective: it returns when all ranks have called it.
// What is pending on it must be finished. The world is freed by Finalize.
func (c *Comm) Free() error {
	const op = "Free"
	if err := c.check(op); err != nil {
		return err
	}
	if c.id == 0 {
		return c.errorf(op, ErrComm, "the world is freed by Finalize")
	}
	if err := c.Barrier(); err != nil {
		return err
	}
	p := c.p
	p.nic.Lock()
	defer p.nic.Unlock()
	if c.freed.Swap(true) {
		return c.errorf(op, ErrFreed, "communicator %s", c.name)
	}
	p.unit.FreeContext(c.id, ErrFreed)
	p.mu.Lock()
	delete(p.comms, c.id)
	p.mu.Unlock()
	if err := c.group.Close(); err != nil {
		return c.errorf(op, err, "")
	}
	p.ids.free(c.id)
	return nil
}
