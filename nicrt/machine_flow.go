package nicrt

import "math/bits"

// flowState is the state of one message, those of PsPIN's message processing
// queues (mpq_fsm):
//
//	Free ──first packet──▶ Header ──issued──▶ HeaderRunning ──returned──▶ Payload
//	Payload ──last packet seen and issued──▶ PayloadDraining
//	PayloadDraining ──none in flight──▶ Completion ──issued──▶ CompletionRunning
//	CompletionRunning ──returned──▶ Free
//
// A state whose handler is missing is passed through.
type flowState uint8

const (
	flowFree flowState = iota
	flowHeader
	flowHeaderRunning
	flowPayload
	flowPayloadDraining
	flowCompletion
	flowCompletionRunning
)

func (s flowState) String() string {
	return nameOf(int(s), "flowState", "free", "header", "header-running", "payload",
		"payload-draining", "completion", "completion-running")
}

// A flow is one message in flight.
type flow struct {
	in       *Installed
	peer     int32
	state    flowState
	verdict  Verdict // Process until the header handler has decided
	ended    bool    // the last packet is here, or none will come
	failed   bool
	hdr      Header
	msg      uint64
	queue    cellQueue // packets not issued yet
	last     int32     // the last packet, held for the completion handler, or noCell
	inFlight int       // payload handlers issued and not returned
	total    uint64    // payload bytes seen
	dropped  uint64    // of these dropped
	steer    steering
}

// steering is where the payload of a Proceed message goes.
type steering struct {
	mem HostMemory
	off uint64
}

// noFlow is the index of no flow.
const noFlow = -1

// singleFlow is the flow of single-packet messages of resident programs, which
// come and go within one step. It is never in the index.
const singleFlow = 0

// A flowTable holds the messages in flight and finds them by peer and message.
// The index is open addressed with linear probing, at most a quarter full, so
// that keys chosen to collide cost a bounded search.
type flowTable struct {
	flows [MaxMessages]flow
	free  []int32
	index [4 * MaxMessages]int16 // flow or 0 for none
}

func (m *machine) initFlows() {
	t := &m.flows
	t.free = make([]int32, 0, MaxMessages)
	for i := MaxMessages - 1; i > singleFlow; i-- {
		t.free = append(t.free, int32(i))
	}
}

// home returns where the search for a message begins.
func (t *flowTable) home(peer int32, msg uint64) int {
	h := (msg ^ uint64(uint32(peer))<<40) * 0x9e3779b97f4a7c15
	return int(h >> (64 - bits.Len(uint(len(t.index)-1))))
}

// find returns the flow of a message or noFlow.
func (t *flowTable) find(peer int32, msg uint64) int32 {
	for i := t.home(peer, msg); ; i = (i + 1) % len(t.index) {
		f := t.index[i]
		if f == 0 {
			return noFlow
		}
		if t.flows[f].msg == msg && t.flows[f].peer == peer {
			return int32(f)
		}
	}
}

// open takes a free flow for the message that p begins, or noFlow.
func (t *flowTable) open(in *Installed, p *packet) int32 {
	if len(t.free) == 0 {
		return noFlow
	}
	f := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.flows[f].begin(in, p)
	i := t.home(p.peer, p.msg)
	for t.index[i] != 0 {
		i = (i + 1) % len(t.index)
	}
	t.index[i] = int16(f)
	return f
}

// begin makes f the message that p begins.
func (f *flow) begin(in *Installed, p *packet) {
	*f = flow{in: in, peer: p.peer, msg: p.msg, hdr: p.hdr, state: flowPayload, queue: emptyCells, last: noCell}
	if in.program.Header != nil {
		f.state = flowHeader
	}
}

// close frees flow f.
func (t *flowTable) close(f int32) {
	hole := t.home(t.flows[f].peer, t.flows[f].msg)
	for t.index[hole] != int16(f) {
		hole = (hole + 1) % len(t.index)
	}
	t.flows[f] = flow{}
	t.free = append(t.free, f)
	// Move back what was pushed past the hole, so that no search stops early.
	for i := (hole + 1) % len(t.index); t.index[i] != 0; i = (i + 1) % len(t.index) {
		o := &t.flows[t.index[i]]
		distance := (i - t.home(o.peer, o.msg)) & (len(t.index) - 1)
		if gap := (i - hole) & (len(t.index) - 1); distance >= gap {
			t.index[hole] = t.index[i]
			hole = i
		}
	}
	t.index[hole] = 0
}

// A readySet holds the flows that have something to run and gives them out
// round robin.
type readySet struct {
	bits [MaxMessages / 64]uint64
	turn int // where the next search begins
}

func (s *readySet) set(f int32, ready bool) {
	mask := uint64(1) << (f % 64)
	if ready {
		s.bits[f/64] |= mask
	} else {
		s.bits[f/64] &^= mask
	}
}

// next returns the first ready flow in turn and moves the turn behind it, or
// noFlow.
func (s *readySet) next() int32 {
	word, low := s.turn/64, s.turn%64
	w := s.bits[word] >> low << low
	for range len(s.bits) + 1 {
		if w != 0 {
			f := word*64 + bits.TrailingZeros64(w)
			s.turn = (f + 1) % MaxMessages
			return int32(f)
		}
		word = (word + 1) % len(s.bits)
		w = s.bits[word]
	}
	return noFlow
}
