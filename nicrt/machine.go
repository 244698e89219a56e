package nicrt

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Sizes of the handler machine. Those of PsPIN (ISCA'21) are the model: 4
// clusters of 8 HPUs, 12 handler requests queued for each, 256 messages.
const (
	defaultClusters     = 4
	defaultHPUs         = 8
	defaultQueue        = 12
	defaultNICMemory    = 4 << 20
	defaultPacketMemory = 1 << 20
	defaultPackets      = 1024
	defaultMaxSend      = 64 << 10
	defaultEvents       = 256

	// MaxMessages bounds the messages that may be in flight on a NIC, and
	// with that [Task.Slot].
	MaxMessages = 256

	// CommandsInFlight is how many commands of one HPU may wait for the NIC.
	CommandsInFlight = 4

	maxHPUsPerCluster = 64
)

// A packet is one packet of a message as the wire hands it to the machine.
// The packets of one message come in order, the first one marked first and the
// last one last; those of several messages may be mixed. The header counts in
// the first packet only.
type packet struct {
	peer    int32
	first   bool
	last    bool
	hdr     Header
	msg     uint64 // tells the peer's messages in flight apart
	offset  uint64 // of payload within the message
	payload []byte // the wire's; the machine does not keep it
}

// A machinePort is what handlers' commands need of the NIC. Its methods are
// called within the machine's steps and must not call the machine back.
type machinePort interface {
	// send gives one message to the wire, which copies it; false means that
	// there is no room now. Success can be expected again when kick is called.
	send(peer int, h *Header, payload []byte) bool
	// increment adds n to a counter; an error says that there is none.
	increment(counter uint32, n int64) error
}

// machineConfig sizes a machine. Zero fields take their default.
type machineConfig struct {
	peers        int     // peers are 0 to peers-1
	clusters     int     // default 4
	hpus         int     // HPUs of each cluster, at most 64, default 8
	queue        int     // handlers queued for each cluster, default 12
	packets      int     // packets held at once, default 1024
	packetMemory int     // bytes of NIC memory set apart for them, default 1 MiB
	maxSend      int     // longest payload a handler may send, default 64 KiB
	events       int     // events kept for the host for each program, default 256
	memory       *memory // default 4 MiB of its own
	port         machinePort
	// serialise is held by the caller around every call of the machine, and
	// taken by the methods of Installed. nil: there is a single caller.
	serialise sync.Locker
	// reported is called when a program's host has an event to take, freed when a program's removal
	// may have made room for packets that were refused. Either may be nil.
	reported, freed func()
	// clock measures handlers that run inline. nil: they are not measured.
	clock func() time.Duration
}

func (c *machineConfig) setDefaults() {
	def := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	def(&c.clusters, defaultClusters)
	def(&c.hpus, defaultHPUs)
	def(&c.queue, defaultQueue)
	def(&c.packets, defaultPackets)
	def(&c.packetMemory, defaultPacketMemory)
	def(&c.maxSend, defaultMaxSend)
	def(&c.events, defaultEvents)
	if c.memory == nil {
		c.memory = newMemoryOf(defaultNICMemory)
	}
	if c.serialise == nil {
		c.serialise = noLock{}
	}
	nothing := func() {}
	if c.reported == nil {
		c.reported = nothing
	}
	if c.freed == nil {
		c.freed = nothing
	}
	if c.clock == nil {
		c.clock = func() time.Duration { return 0 }
	}
}

// A machine runs programs on the packets it is given. It is a deterministic
// state machine: it starts no goroutine, takes no lock and asks no clock of
// its own, and its caller makes one call at a time.
//
// deliver puts a packet in. Handlers of resident programs run at once, within
// deliver. Those of others become tasks: a message that has something to run
// competes for a place in a cluster's queue, from there an HPU takes it, and
// the runner runs it and calls done.
type machine struct {
	programs [256]*Installed
	busy     bool      // within a step: handlers may be running on this thread
	inline   Task      // the task of every resident handler
	common   Account   // counts that belong to no program, and those of programs gone
	stalled  stallList // sends that wait for the wire
	config   machineConfig
	memory   *memory
	runner   taskRunner
	leaving  []*Installed // removed, with handlers still running

	flows   flowTable
	ready   readySet // flows that have something to run
	cells   cellPool
	packets *memory // for payloads of packets held, while an isolated program is installed
	// packetArena backs packets; isolated counts the programs that need it.
	packetArena []byte
	isolated    int
	highPackets int // largest packets.used of arenas gone

	clusters []hpuCluster
	hpus     []*Task // the task of each HPU
}

// newMachine returns a machine that runs its tasks with inlineTasks, until
// another runner is set.
func newMachine(c machineConfig) *machine {
	c.setDefaults()
	m := &machine{config: c, memory: c.memory}
	m.runner = &inlineTasks{m}
	m.inline = Task{machine: m, flow: noFlow}
	m.stalled.init(m)
	m.initFlows()
	m.initHPUs()
	return m
}

// install puts a program on the NIC, to receive the messages for id. It fails
// with an *InstallError.
func (m *machine) install(id uint8, p Program) (*Installed, error) {
	if problem := m.unfit(id, &p); problem != "" {
		return nil, &InstallError{Program: p.Name, ID: id, Problem: problem}
	}
	in := &Installed{program: p, id: id, machine: m, budget: p.Budget, serialise: m.config.serialise}
	if in.budget == 0 && !p.Resident {
		in.budget = DefaultBudget
	}
	if err := m.takeMemory(in); err != nil {
		return nil, &InstallError{Program: p.Name, ID: id, Cause: err,
			Problem: fmt.Sprintf("memory of %d bytes and scratchpads of %d bytes", p.Memory, p.Scratch)}
	}
	in.events.init(m.config.events)
	in.direct = p.Resident && p.Header != nil && p.Payload == nil && p.Completion == nil && in.budget == 0
	m.programs[id] = in
	return in, nil
}

// unfit says why p cannot be installed, or nothing.
func (m *machine) unfit(id uint8, p *Program) string {
	switch was := m.programs[id]; {
	case was != nil:
		return fmt.Sprintf("the number is taken by program %q", was.program.Name)
	case p.Name == "":
		return "the name is empty"
	case p.Header == nil && p.Payload == nil && p.Completion == nil:
		return "no handler, want one at least"
	case p.Memory < 0:
		return fmt.Sprintf("memory of %d bytes, want 0 or more", p.Memory)
	case p.Scratch < 0:
		return fmt.Sprintf("scratchpad of %d bytes, want 0 or more", p.Scratch)
	case p.Budget < 0:
		return fmt.Sprintf("budget of %v, want 0 or more", p.Budget)
	}
	return ""
}

// takeMemory gives in its NIC memory, zeroed, or nothing and an error.
func (m *machine) takeMemory(in *Installed) (err error) {
	if !in.program.Resident {
		if err := m.openPacketMemory(); err != nil {
			return err
		}
	}
	scratchpads := 1
	if !in.program.Resident {
		scratchpads = len(m.hpus)
	}
	in.stride = grains(in.program.Scratch)
	if in.memory, err = m.memory.alloc(in.program.Memory); err == nil {
		in.scratch, err = m.allocScratch(in.program.Scratch, scratchpads)
	}
	if err != nil {
		m.giveBackMemory(in)
		return err
	}
	clear(in.memory)
	clear(in.scratch)
	return nil
}

// allocScratch allocates n scratchpads of size bytes, each on lines of its own.
func (m *machine) allocScratch(size, n int) ([]byte, error) {
	if size > m.memory.size() { // the product could overflow
		return nil, &MemoryError{Wanted: size, Free: m.memory.free(), Largest: m.memory.largest()}
	}
	return m.memory.alloc(grains(size) * n)
}

// giveBackMemory undoes takeMemory.
func (m *machine) giveBackMemory(in *Installed) {
	m.memory.release(in.memory)
	m.memory.release(in.scratch)
	in.memory, in.scratch = nil, nil
	if !in.program.Resident {
		m.closePacketMemory()
	}
}

// openPacketMemory sets memory for packets apart when the first program comes
// whose packets must be held. Resident programs need none.
func (m *machine) openPacketMemory() error {
	if m.isolated == 0 {
		arena, err := m.memory.alloc(m.config.packetMemory)
		if err != nil {
			return err
		}
		m.packetArena, m.packets = arena, newMemory(arena)
		m.cells.init(m.config.packets)
	}
	m.isolated++
	return nil
}

// closePacketMemory undoes openPacketMemory. With the last isolated program
// gone no packet is held.
func (m *machine) closePacketMemory() {
	if m.isolated--; m.isolated == 0 {
		m.highPackets = m.packetPeak()
		m.memory.release(m.packetArena)
		m.packetArena, m.packets = nil, nil
	}
}

// packetPeak returns the largest amount of packet memory ever in use.
func (m *machine) packetPeak() int {
	if m.packets == nil {
		return m.highPackets
	}
	return max(m.highPackets, m.packets.peak)
}

// footprint returns the NIC memory that program p takes, in bytes.
func (m *machine) footprint(p *Program) int {
	scratchpads := 1
	if !p.Resident {
		scratchpads = len(m.hpus)
	}
	return grains(p.Memory) + grains(p.Scratch)*scratchpads
}

// uninstall removes in, as [Installed.Stop] says.
func (m *machine) uninstall(in *Installed) {
	if in.removed {
		return
	}
	m.stop(in, nil)
	in.removed = true
	m.programs[in.id] = nil
	m.leaving = append(m.leaving, in)
	m.reclaim(in)
	m.config.freed()
}

// shutdown removes all programs, and ends what the runner has running without
// waiting for it.
func (m *machine) shutdown() {
	for _, in := range m.programs {
		if in != nil {
			m.uninstall(in)
		}
	}
	if r, ok := m.runner.(interface{ close() }); ok {
		r.close()
	}
}

// reclaim frees the memory of a removed program with no handler left.
func (m *machine) reclaim(in *Installed) {
	if !in.removed || in.running > 0 {
		return
	}
	m.giveBackMemory(in)
	in.addTo(&m.common)
	m.leaving = slices.DeleteFunc(m.leaving, func(l *Installed) bool { return l == in })
}
