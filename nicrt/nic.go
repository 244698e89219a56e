package nicrt

import (
	"sync"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
)

// A NIC is the runtime on one device context. It belongs to a mesh of NICs,
// numbered from 0, each of which can reach all, itself included: endpoint i of a member's port is
// for member i. Connections are made when the first message needs them.
//
// A NIC starts no goroutine and has no clock: it runs on whichever thread
// polls, waits or posts, under its lock. Methods that say so are
// called with the lock held: from a handler, from a callback of the NIC, or between Lock and
// Unlock.
type NIC struct {
	ctx      *verbs.Context
	eng      verbs.Engine
	pd       *verbs.PD
	cq       *verbs.CQ
	self     int
	eagerMax int
	peers    []peer
	machine  *machine
	workers  *hpuWorkers
	exec     *exec
	counters *counterUnit
	memory   *memory
	requests requestTable
	sent     sentCounts
	exposed  []*verbs.MR // by index of their key
	onPoll   []func()
	onDown   []func(peer int, err error)
	down     []int32 // peers whose loss the machine has yet to hear of
	closed   bool

	in packet // the packet being delivered
	wr verbs.SendWR
	sg [2]verbs.SGE
	hb [HeaderLen]byte
}

// Config says how to open a NIC. Zero fields take their default.
type Config struct {
	// Port is the NIC's attachment to the wire. The NIC owns it from then on and closes it.
	// Its endpoints 0 to Peers-1 must be reserved.
	Port fabric.Port
	// Self is this NIC's number in the mesh of Peers.
	Self, Peers int
	// Memory is the NIC memory in bytes, 4 MiB unless given.
	Memory int
	// Wait is how waiting goroutines lend their thread, the fabric's default unless given.
	Wait *verbs.WaitPolicy
}

// Open makes a NIC. The error is an *ArgumentError or the device's; the port is the caller's then.
func Open(c Config) (*NIC, error) {
	switch {
	case c.Port == nil:
		return nil, &ArgumentError{Call: "Open", Name: "port", Value: "nil", Want: "the port of a fabric"}
	case c.Peers < 1:
		return nil, argument("Open", "peers", c.Peers, "at least 1")
	case c.Self < 0 || c.Self >= c.Peers:
		return nil, argument("Open", "self", c.Self, wantPeer(c.Peers))
	case c.Memory < 0:
		return nil, argument("Open", "memory", c.Memory, "a number of bytes, 0 for the default")
	}
	ctx, err := verbs.Open(c.Port)
	if err != nil {
		return nil, err
	}
	if c.Wait != nil {
		ctx.SetWait(*c.Wait)
	}
	n := &NIC{ctx: ctx, eng: ctx.Engine(), self: c.Self, eagerMax: ctx.FabricAttr().MTU - HeaderLen,
		peers: make([]peer, c.Peers)}
	n.peers[c.Self].addr = ctx.Addr()
	if err := n.build(c); err != nil {
		ctx.Close()
		return nil, err
	}
	return n, nil
}

func (n *NIC) build(c Config) (err error) {
	if n.pd, err = n.ctx.AllocPD(); err != nil {
		return err
	}
	if n.cq, err = n.ctx.CreateCQ((c.Peers+1)*sendDepth, nil); err != nil {
		return err
	}
	if c.Memory == 0 {
		c.Memory = defaultNICMemory
	}
	n.memory = newMemoryOf(c.Memory)
	n.counters = newCounterUnit(counterConfig{wire: counterWire{n}, device: n.eng, finished: n.Completed, released: n.rouse})
	start := time.Now()
	n.machine = newMachine(machineConfig{
		peers: c.Peers, memory: n.memory, maxSend: n.eagerMax, port: machineWire{n},
		serialise: n, clock: func() time.Duration { return time.Since(start) }, reported: n.Completed, freed: n.rouse,
	})
	n.workers = newHPUWorkers(n.machine, n.eng.Ring)
	if err := n.installExec(); err != nil {
		return err
	}
	n.eng.Lock()
	n.eng.Attach(n.afterPoll, n.knock)
	n.eng.Unlock()
	return nil
}

var _ sync.Locker = (*NIC)(nil)

// Addr is the address that the other members need, for SetPeer.
func (n *NIC) Addr() string { return n.ctx.Addr() }

// Self is this NIC's number in the mesh.
func (n *NIC) Self() int { return n.self }

// Peers is the size of the mesh.
func (n *NIC) Peers() int { return len(n.peers) }

// Context is the device context under the NIC.
func (n *NIC) Context() *verbs.Context { return n.ctx }

// EagerMax is the longest payload of a message that Send takes, in bytes: one packet.
func (n *NIC) EagerMax() int { return n.eagerMax }

// Lock enters the NIC.
func (n *NIC) Lock() { n.eng.Lock() }

// Unlock leaves the NIC and wakes the goroutines whose wait may be over.
func (n *NIC) Unlock() { n.eng.Unlock() }

// Install puts a program on the NIC, to receive the messages whose Header.Program is id. The error
// is an *InstallError, or ErrClosed.
func (n *NIC) Install(id uint8, p Program) (*Installed, error) {
	n.Lock()
	defer n.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	return n.machine.install(id, p)
}

// Close ends the NIC, its programs and its port. What is under way, runs of schedules, reads,
// posted messages and waits, ends with ErrClosed before Close returns. Handlers
// in progress are cut off; Close does not wait for them.
func (n *NIC) Close() error {
	n.Lock()
	if n.closed {
		n.Unlock()
		return ErrClosed
	}
	n.closed = true
	n.machine.shutdown()
	n.exec.shut(ErrClosed)
	n.disconnect()
	n.counters.shut(ErrClosed)
	n.Unlock()
	return n.ctx.Close()
}
