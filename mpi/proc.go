package mpi

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"outboard/nicrt"
	"outboard/tagmatch/unit"
	"outboard/verbs/fabric"
)

// proc is one rank of a world: its NIC, the match unit on it, and its communicators.
type proc struct {
	nic   *nicrt.NIC
	unit  *unit.Unit
	rank  int
	size  int
	world *Comm

	// Guarded by the NIC's lock.
	spare   *unit.Op     // of a blocking call, for the next one
	gone    []loss       // not yet acted on
	revoked []revocation // not yet acted on

	mu       sync.Mutex // after the NIC's lock where both are held
	comms    map[uint32]*comm
	early    map[uint32][]revocation // of communicators that are not made yet
	requests requestList
	lost     map[int]error
	ended    bool
	aborted  error // why the job is over

	ids   idPool
	local *localWorld // the world of goroutines that this rank belongs to, or nil

	launcherTells bool // the launcher says which rank failed first; set before the first message
}

// newProc opens a NIC on a port and makes the world on it.
func newProc(port fabric.Port, rank, size int) (*proc, error) {
	nic, err := nicrt.Open(nicrt.Config{Port: port, Self: rank, Peers: size, Wait: waitPolicy(port, size)})
	if err != nil {
		return nil, err
	}
	p := &proc{nic: nic, rank: rank, size: size, comms: map[uint32]*comm{}, early: map[uint32][]revocation{}, lost: map[int]error{}}
	p.ids.init()
	if p.unit, err = unit.New(nic, 0); err != nil {
		nic.Close()
		return nil, err
	}
	p.unit.OnRevoke(p.hearRevocation)
	nic.OnDown(p.peerDown)
	nic.OnPoll(p.afterPoll)
	return p, nil
}

// makeWorld makes the communicator of all ranks, when their addresses are known.
func (p *proc) makeWorld() (err error) {
	ranks := make([]int, p.size)
	for i := range ranks {
		ranks[i] = i
	}
	p.world, err = p.newComm(0, "world", ranks)
	return err
}

// peerDown hears from the NIC that a process is gone. Ranks that fail because
// another has failed go too, and this one may hear of them first: where the
// launcher says who was first, its word is waited for. The NIC may be in the middle of anything, even of failing
// a communicator, so the news is only noted.
func (p *proc) peerDown(peer int, why error) {
	var pe *nicrt.PeerError
	if errors.As(why, &pe) {
		why = pe.Err
	}
	if p.launcherTells {
		time.AfterFunc(launcherNotice, func() { p.lose(peer, why) })
		return
	}
	p.gone = append(p.gone, loss{peer, why})
	p.nic.Again()
}

// loss is a process that is gone.
type loss struct {
	peer int
	why  error
}

// afterPoll acts on what the NIC has told; the NIC calls it after a poll.
func (p *proc) afterPoll() {
	if len(p.gone)+len(p.revoked) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.gone) > 0 {
		l := p.gone[0]
		p.gone = p.gone[1:]
		p.mourn(l.peer, l.why)
	}
	for len(p.revoked) > 0 {
		r := p.revoked[0]
		p.revoked = p.revoked[1:]
		p.obey(r)
	}
}

// launcherNotice is how long the launcher may take to say which rank failed first.
const launcherNotice = 300 * time.Millisecond

// lose records the loss of a rank.
func (p *proc) lose(peer int, why error) {
	p.nic.Lock()
	defer p.nic.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mourn(peer, why)
}

// mourn fails every communicator that a lost rank belongs to. The caller holds the NIC's lock and p.mu.
func (p *proc) mourn(peer int, why error) {
	if p.ended || p.lost[peer] != nil {
		return
	}
	p.lost[peer] = why
	for _, c := range p.comms {
		if r := c.rankOf(peer); r >= 0 {
			p.fail(c, &procFailed{rank: r, why: why})
		}
	}
}

// fail ends everything on a communicator and reports whether it had not failed before. The caller holds the NIC's lock and p.mu.
func (p *proc) fail(c *comm, why error) bool {
	if !c.broken.CompareAndSwap(nil, &why) {
		return false
	}
	p.unit.FailContext(c.id, why)
	c.group.Fail(why)
	p.nic.Completed()
	return true
}

// abort ends everything on every communicator: the job is over.
func (p *proc) abort(why error) {
	p.nic.Lock()
	defer p.nic.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if p.aborted == nil {
		p.aborted = why // for communicators that are being made
	}
	for _, c := range p.comms {
		p.fail(c, why)
	}
}

// finish checks that nothing is left undone. The error lists what is.
func (p *proc) finish() error {
	var errs []error
	p.mu.Lock()
	for r := range p.requests.all {
		errs = append(errs, r.errorf("Finalize", ErrPending, "%s was never waited for", r.describe()))
	}
	p.mu.Unlock()
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	p.nic.Lock()
	p.pollAll()
	p.mu.Lock()
	for _, c := range p.comms {
		if c.broken.Load() != nil {
			continue
		}
		view := &Comm{comm: c}
		p.unit.Pending(c.id, func(e unit.Envelope) {
			err := view.errorf("Finalize", ErrPending, "message of %d bytes was never received", e.Len)
			err.Peer, err.Tag = int(e.Source), int(e.Tag)
			errs = append(errs, err)
		})
	}
	p.mu.Unlock()
	p.nic.Unlock()
	return errors.Join(errs...)
}

// pollAll takes all messages from the wire that are there. The caller holds the NIC's lock.
func (p *proc) pollAll() {
	last := uint64(0)
	for quiet := 0; quiet < 3; quiet++ { // the first poll may bring no more than a sender's knock
		p.nic.Poll()
		if s := p.unit.Stats(); s.Eager+s.Rendezvous != last {
			last, quiet = s.Eager+s.Rendezvous, 0
		}
	}
}

// close takes the rank off the wire.
func (p *proc) close() error {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	return p.nic.Close()
}
