package shm

import (
	"fmt"

	"golang.org/x/sys/unix"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/port"
	"outboard/verbs/fabric/internal/ring"
)

// backend is the face of a Port for package port.
type backend struct{ p *Port }

func (b backend) Addr() string          { return b.p.text }
func (b backend) Pid() uint32           { return b.p.addr.pid }
func (b backend) Ring(ep int) ring.Ring { return b.p.seg.ring(ep) }
func (b backend) Wake()                 { wake(&b.p.seg.control().Bell) }

func (b backend) Segment(mem []byte) uint64 {
	return b.p.heap.offset(b.p.seg.shape.memory, mem)
}

// Gone implements port.Backend.
func (b backend) Gone(pid uint32, addr string) bool {
	if pid == b.p.addr.pid {
		return false
	}
	a, err := parseAddress(addr)
	if err != nil || a.pid != pid {
		return processGone(pid, 0)
	}
	return processGone(pid, a.start)
}

// Notify implements port.Backend.
func (b backend) Notify(addr string) {
	a, err := parseAddress(addr)
	if err != nil {
		return
	}
	if q := findLocal(a); q != nil {
		port.Gone(&q.Port)
		return
	}
	r, err := b.p.dial(a)
	if err != nil {
		return
	}
	r.Control().Attend(r)
	b.p.hangup(r)
}

// Dial implements port.Backend.
func (b backend) Dial(addr string) (port.Peer, error) {
	a, err := parseAddress(addr)
	if err != nil {
		return nil, err
	}
	return b.p.dial(a)
}

// Hangup implements port.Backend.
func (b backend) Hangup(peer port.Peer) { b.p.hangup(peer.(*remote)) }

func findLocal(a address) *Port {
	localMu.Lock()
	defer localMu.Unlock()
	return locals[a]
}

// dial returns the remote at a for one more user.
func (p *Port) dial(a address) (*remote, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.remotes[a]
	if r == nil {
		var err error
		if r, err = p.reach(a); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", fabric.ErrUnreachable, a, err)
		}
		p.remotes[a] = r
	}
	r.users++
	return r, nil
}

func (p *Port) reach(a address) (*remote, error) {
	if q := findLocal(a); q != nil {
		return &remote{addr: a, seg: q.seg, table: q.table, attr: q.Attr(), local: q, pidfd: -1}, nil
	}
	if a.pid == p.addr.pid {
		return nil, fmt.Errorf("no such port in this process")
	}
	// The pidfd is taken first: if the start time fits then, it is of the right process.
	pidfd, err := unix.PidfdOpen(int(a.pid), 0)
	if err != nil {
		return nil, err
	}
	r := &remote{addr: a, pidfd: pidfd, noCMA: p.noCMA}
	if r.seg, err = openLive(a, pidfd); err != nil {
		unix.Close(pidfd)
		return nil, err
	}
	r.table, r.attr = r.seg.table(false), r.seg.attr()
	if err := p.watch.add(r); err != nil {
		r.seg.unmap()
		return nil, err
	}
	return r, nil
}

// openLive opens the segment at a, whose process must live and be the one that a means.
func openLive(a address, pidfd int) (*segment, error) {
	start, err := startTime(a.pid)
	if err != nil {
		return nil, err
	}
	if start != a.start {
		return nil, fmt.Errorf("process %d started at %d, want %d", a.pid, start, a.start)
	}
	seg, err := openSegment(a)
	if err != nil {
		return nil, err
	}
	if ended(pidfd) {
		seg.unmap()
		return nil, fmt.Errorf("process %d has ended", a.pid)
	}
	return seg, nil
}

// hangup takes one user from r; the last one unmaps its memory.
func (p *Port) hangup(r *remote) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.users--; r.users > 0 {
		return
	}
	delete(p.remotes, r.addr)
	if r.local == nil {
		p.watch.drop(r)
		r.seg.unmap()
	}
}
