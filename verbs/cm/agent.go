package cm

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"outboard/verbs"
	"outboard/verbs/internal/ib"
)

// An agent drives the machine of one context. mu guards the machine and what its owners keep; it is taken before the NIC's lock.
type agent struct {
	dev    *verbs.Context
	maxMTU uint8
	users  int // under agents.mu

	mu sync.Mutex
	m  *machine

	inbox inbox
	stop  chan struct{}
	ended sync.WaitGroup
}

// agents are the agents that have users.
var agents struct {
	mu    sync.Mutex
	byDev map[*verbs.Context]*agent
}

// agentOf finds or starts the agent of a context, for one more user.
func agentOf(dev *verbs.Context) (*agent, error) {
	agents.mu.Lock()
	defer agents.mu.Unlock()
	if a := agents.byDev[dev]; a != nil {
		a.users++
		return a, nil
	}
	port, err := dev.QueryPort(verbs.PortNum)
	if err != nil {
		return nil, err
	}
	a := &agent{dev: dev, users: 1, maxMTU: mtuCode(port.ActiveMTU), stop: make(chan struct{})}
	a.m = newMachine(dev.Addr(), a.maxMTU, defaultTiming, rand.Uint32)
	a.inbox.kick = make(chan struct{}, 1)
	if err := dev.OnMAD(a.inbox.mad); err != nil {
		return nil, err
	}
	if err := dev.OnDown(a.inbox.down); err != nil {
		_ = dev.OnMAD(nil)
		return nil, err
	}
	a.ended.Go(a.run)
	if agents.byDev == nil {
		agents.byDev = map[*verbs.Context]*agent{}
	}
	agents.byDev[dev] = a
	return a, nil
}

// release takes one user away; the last one ends the agent.
func (a *agent) release() {
	agents.mu.Lock()
	defer agents.mu.Unlock()
	if a.users--; a.users > 0 {
		return
	}
	delete(agents.byDev, a.dev)
	_, _ = a.dev.OnMAD(nil), a.dev.OnDown(nil) // fail if the context is closed
	close(a.stop)
	a.ended.Wait()
}

// do runs f on the machine, and then does what the machine wants done.
func (a *agent) do(f func(*machine)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.m.now = time.Now()
	f(a.m)
	a.flush()
	a.inbox.ring() // the goroutine looks at the timers again
}

// flush sends what the machine has to send and tells what it has to tell.
func (a *agent) flush() {
	m := a.m
	for len(m.out) > 0 || len(m.news) > 0 {
		out, told := m.out, m.news
		m.out, m.news = nil, nil
		var b [ib.MADLen]byte
		for _, l := range out {
			err := a.dev.SendMAD(l.to, l.mad.Append(b[:0]))
			switch {
			case errors.Is(err, verbs.ErrDestroyed):
				m.removed(err)
			case err != nil:
				m.unreachable(l.to, err)
			}
		}
		for _, n := range told {
			n.to.happened(n.x, n.ev)
		}
	}
}

func (a *agent) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-a.inbox.kick:
		case <-timer.C:
		}
		timer.Reset(a.serve())
	}
}

// serve does what has come and what is due, and returns how long there is nothing to do.
func (a *agent) serve() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.m
	m.now = time.Now()
	for _, in := range a.inbox.take() {
		a.receive(in)
		a.flush()
	}
	m.tick()
	a.flush()
	if at := m.next(); !at.IsZero() {
		return max(time.Until(at), time.Microsecond)
	}
	return time.Hour
}

func (a *agent) receive(in arrival) {
	m := a.m
	switch {
	case in.mad != nil:
		var mad ib.MAD
		if mad.Parse(in.mad) == nil {
			m.recv(in.addr, &mad)
		}
	case in.addr == "" && in.qpn == 0:
		m.removed(in.err)
	case in.qpn == 0:
		m.remind(in.addr)
	default:
		m.lost(in.qpn, in.err)
	}
}

// An arrival is a datagram, or what the NIC says is down.
type arrival struct {
	addr string
	qpn  uint32
	err  error
	mad  []byte
}

// maxWaiting bounds the datagrams that wait for the agent: more are lost, as datagrams may be.
const maxWaiting = 1024

// An inbox takes what the NIC has for the agent, under the NIC's lock.
type inbox struct {
	mu   sync.Mutex
	in   []arrival
	mads int
	kick chan struct{}
}

func (b *inbox) ring() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *inbox) mad(from string, mad []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mads < maxWaiting {
		b.mads++
		b.in = append(b.in, arrival{addr: from, mad: append([]byte(nil), mad...)})
		b.ring()
	}
}

func (b *inbox) down(addr string, qpn uint32, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in = append(b.in, arrival{addr: addr, qpn: qpn, err: err})
	b.ring()
}

func (b *inbox) take() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	in := b.in
	b.in, b.mads = nil, 0
	return in
}
