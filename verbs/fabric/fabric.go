package fabric

import (
	"errors"
	"time"
)

// Header is the fixed part of every packet. The fabric carries it and reads
// none of it; its meaning belongs to the verbs.
type Header struct {
	Op    uint8  // opcode
	Flags uint8  // AckNow and the flags of the opcode
	Aux   uint16 // opcode-specific
	Imm   uint32 // immediate data
	Key   uint32 // remote key
	PSN   uint32 // packet sequence number, 24 bits
	Addr  uint64 // remote address
}

// HeaderLen is the number of bytes that a Header takes on the wire.
const HeaderLen = 24

// AckNow in Header.Flags asks the receiving port to make the release of this
// packet visible to Conn.Acked at once. Without it releases are published in
// batches, which saves a cache-line transfer for each packet. It is the one
// flag that the fabric reads.
const AckNow = 0x80

// Attr says what a port guarantees and its limits.
type Attr struct {
	// Name of the fabric: "inproc", "shm".
	Name string
	// Ordered: packets of one Conn arrive in the order in which they were sent.
	Ordered bool
	// Reliable: packets arrive exactly once and whole, or the Conn goes down.
	Reliable bool
	// MTU is the largest payload of one packet, in bytes.
	MTU int
	// Inline is the largest payload that travels in the same slot as its
	// header: the size up to which a packet is cheapest.
	Inline int
	// Endpoints is the number of endpoints that the port can hold open.
	Endpoints int
	// Regions is the number of memory regions that the port can publish.
	Regions int
}

// Region describes memory that the owner of a port lets its peers reach. The
// verbs decide what the fields mean for protection; the fabric keeps them where
// peers can read them and moves bytes.
type Region struct {
	// Key is the remote key: the index in the owner's table in the upper 24
	// bits, a variant that changes at each reuse in the lower 8. 0 is never a
	// valid key.
	Key uint32
	// PD is the protection domain, and Access the rights, in the verbs' terms.
	PD     uint32
	Access uint32
	// Base is the address of the first byte in the owner's address space, Len
	// the number of bytes.
	Base uint64
	Len  uint64
	// Buf is the memory itself. Only the owner sets it; a copy that a peer
	// receives has it nil unless both are in one process.
	Buf []byte
}

// Grant is what the owner of an endpoint allows its connected peer: the
// verbs write it at every change of a queue pair's state.
type Grant struct {
	Ready  bool   // the queue pair accepts requests (RTR, RTS)
	PD     uint32 // protection domain of the queue pair
	Access uint32 // remote rights of the queue pair
}

// A Port is the attachment of one NIC to the wire.
//
// A Port is a passive thing: it starts no goroutine that calls back, and
// everything it has to say comes out of Poll. Open, Poll, Publish, Withdraw and
// all methods of the port's Conns must be called by one goroutine at a time:
// the NIC that owns the port serialises them. Addr, Attr, Ring, Arm,
// Sleep, AllocMem, FreeMem and Close may be called by any goroutine at any time.
type Port interface {
	// Addr is the text a peer needs for Conn.Connect: printable ASCII without
	// spaces, at most 200 bytes, so that it fits every bootstrap protocol.
	Addr() string

	Attr() Attr

	// Open opens endpoint number ep for one peer; Any takes a free one that is
	// not reserved. Endpoints below the number that the port was made
	// with as reserved are only opened by number. The cookie comes back with
	// each packet of the Conn.
	// Errors: ErrInUse (open, or the peer of its last Conn has not polled since that was
	// closed), ErrNoEndpoint, ErrClosed.
	Open(ep int, cookie uint32) (Conn, error)

	// Poll gives arrived packets and events to rx, at most budget packets, and
	// returns how many packets rx accepted. It never blocks.
	Poll(rx Receiver, budget int) int

	// Publish puts r into the table that peers read, at index r.Key>>8, and
	// Withdraw takes it out. When Withdraw returns no peer is using the region
	// and none can start to; a peer that died does not delay it.
	Publish(r Region) error
	Withdraw(key uint32) error

	// AllocMem returns n zeroed bytes, aligned to 4 KiB (2 MiB and advised for huge
	// pages from 2 MiB up), which every peer that reaches this port can map:
	// one-sided operations on it need no system call. FreeMem returns it; the
	// slice must be exactly one that AllocMem returned.
	// Errors: ErrNoMemory, ErrNotOurs.
	AllocMem(n int) ([]byte, error)
	FreeMem(b []byte) error

	// Arm asks peers to ring when they send to this port. The caller then polls
	// once more, for what arrived before, and calls Sleep, which returns
	// when the port has been rung since the ticket was given, or when d has passed (d
	// <= 0: no limit). Several goroutines may do so at the same time: a ring
	// wakes all. A rung port is not armed any more. Ring rings this port.
	Arm() Ticket
	Sleep(t Ticket, d time.Duration)
	Ring()

	// Close takes the port off the wire: its peers' Conns go down with
	// ErrPeerClosed, its memory is unmapped when the last user has gone, its
	// goroutines end. AllocMem memory must not be touched afterwards.
	Close() error
}

// A Ticket stands for the rings that a port had had when it was armed.
type Ticket uint32

// Any lets Port.Open choose the endpoint.
const Any = -1

// A Receiver takes what Poll brings: the NIC implements it.
type Receiver interface {
	// Packet is one packet. The header is a private copy; the payload lies in the
	// wire and is valid until Packet returns (a peer that breaks the
	// rules could change it meanwhile: copy before trusting its content).
	// To return false refuses the packet: it stays at the head of its Conn and
	// is presented again at a later Poll; other Conns go on.
	Packet(cookie uint32, h *Header, payload []byte) bool

	// Knock says that packets wait at endpoint ep, which is not open. The receiver
	// may open it, within this call or later, or never.
	Knock(ep int)

	// Down says that the Conn will carry nothing more, wrapped with what is known: ErrPeerClosed if the
	// peer closed its Conn or its port, ErrPeerDied if its process ended or broke the rules of the
	// wire. It is called once, after the last packet that the peer sent.
	Down(cookie uint32, err error)
}

// A Conn is a two-way lane between two endpoints.
type Conn interface {
	// Endpoint is this side's endpoint number.
	Endpoint() int

	// Connect joins this endpoint with endpoint ep of the port at addr; -1 is its last, -2 the one before. Packets can be
	// sent as soon as it returns, also when the peer has not opened or connected its side
	// yet: they wait there. Errors: ErrAddress, ErrUnreachable, ErrNoEndpoint, ErrInUse, ErrClosed.
	Connect(addr string, ep int) error

	// Send puts one packet, whose payload is a followed by b, on the wire and rings the peer
	// if it is armed. It returns false if there is no room now. The caller may reuse
	// h, a and b at once. len(a)+len(b) must not exceed Attr.MTU.
	Send(h *Header, a, b []byte) bool

	// Sent and Acked count packets: those sent on this Conn, and of these
	// the ones that the peer's Receiver has accepted, as far as published (see AckNow).
	Sent() uint64
	Acked() uint64

	// Grant publishes what the peer may do here; PeerGrant reads what the peer published.
	Grant(g Grant)
	PeerGrant() Grant

	// Direct is the ability to reach the peer's memory without its help, or nil.
	Direct() Direct

	// Close gives the endpoint back. What was sent stays readable for the peer.
	Close() error
}

// Direct moves data between this process and regions of the peer with no work by the peer.
type Direct interface {
	// Enter looks key up in the peer's table and, if it is there, holds it: until Leave the owner's
	// Withdraw waits. One region at a time. ok is false if there is no such key.
	Enter(key uint32) (r Region, ok bool)
	Leave()

	// ReadAt and WriteAt copy between p and the peer's memory at addr, which the caller has
	// checked to lie inside the region that it entered. One copy. ErrRefused: the kernel forbids it (then no byte
	// moved; use packets); ErrFault: part of the memory is not there.
	ReadAt(r *Region, p []byte, addr uint64) error
	WriteAt(r *Region, p []byte, addr uint64) error

	// FetchAdd and CompareSwap act on the 8 bytes at addr, which is 8-byte aligned and inside the region,
	// atomically with the processors of the machine. ErrRefused: this memory
	// cannot be reached for atomics; use packets.
	FetchAdd(r *Region, addr, add uint64) (old uint64, err error)
	CompareSwap(r *Region, addr, compare, swap uint64) (old uint64, err error)
}

// Terms are what a Mover looks for in the Access words of a Grant and a Region, whose meaning is the verbs'.
type Terms struct {
	Need      uint32 // bits that both have
	BarGrant  uint32 // bits that the Grant does not have
	BarRegion uint32 // bits that the Region does not have
}

// A Mover is a Direct that makes a whole access in one call, for one that is alone: short ones cost little more than the
// cache line that moves.
type Mover interface {
	Direct
	// Move copies p to the peer's memory at addr, or from there unless write, between an Enter and a Leave of its own, if
	// all is well: everything sent on the Conn is acknowledged, the peer's Grant is Ready, the Grant and the Region that key names are of
	// one PD and have the rights that t asks for, the Region holds the len(p) bytes, of which there is at least one, and they lie in memory that is mapped here.
	// Otherwise it moves nothing and returns false: the single steps tell what is wrong, or do it by other means.
	Move(key uint32, t *Terms, addr uint64, p []byte, write bool) bool
	// FetchAddAt and CompareSwapAt do the same for the 8 bytes at addr, which lie at an 8-byte boundary, atomically.
	FetchAddAt(key uint32, t *Terms, addr, add uint64) (old uint64, ok bool)
	CompareSwapAt(key uint32, t *Terms, addr, compare, swap uint64) (old uint64, ok bool)
}

// Errors of this package, to be tested with errors.Is.
var (
	ErrClosed      = errors.New("fabric: port closed")
	ErrInUse       = errors.New("fabric: endpoint in use")
	ErrNoEndpoint  = errors.New("fabric: no such or no free endpoint")
	ErrAddress     = errors.New("fabric: malformed address")
	ErrUnreachable = errors.New("fabric: peer unreachable")
	ErrNoMemory    = errors.New("fabric: out of device memory")
	ErrNotOurs     = errors.New("fabric: not memory of this port")
	ErrRegion      = errors.New("fabric: region table")
	ErrRefused     = errors.New("fabric: direct access refused")
	ErrFault       = errors.New("fabric: bad address in peer")
	ErrPeerClosed  = errors.New("fabric: peer closed its port")
	ErrPeerDied    = errors.New("fabric: peer process died")
)
