package rdma

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"

	"outboard/bench"
	"outboard/mpi"
	"outboard/verbs"
	"outboard/verbs/fabric/shm"
)

// A link is one side of an experiment: a context, its queue pairs, each connected with one of the peer, and the memory.
type link struct {
	experiment
	comm   *mpi.Comm
	rank   int
	size   int // bytes of a message
	stride int // bytes from the memory of one queue pair to that of the next

	ctx            *verbs.Context
	sendCQ, recvCQ *verbs.CQ
	qps            []*verbs.QP
	local          region // what this side's requests name
	open           region // what the peer's requests reach, or are received in
	peer           hello
	wcs            []verbs.WC
}

// A region is memory with its registration.
type region struct {
	b  []byte
	mr *verbs.MR
}

// hello is what one side tells the other.
type hello struct {
	Addr string
	QPNs []uint32
	Open uint64 // address of the region
	RKey uint32
}

// helloSize bounds what a side has to say, in bytes: its address and a number for each queue pair.
const helloSize = 8 << 10

// lineSize keeps the memory of queue pairs apart, and that of a counter from its neighbours.
const lineSize = 128

// join makes the rank's side and connects it with the other's.
func (e experiment) join(c *mpi.Comm, size int) (*link, error) {
	l := &link{experiment: e, comm: c, rank: c.Rank(), size: size, wcs: make([]verbs.WC, 64)}
	l.stride = (size + lineSize - 1) &^ (lineSize - 1)
	if err := l.setUp(); err != nil {
		if l.ctx != nil {
			_ = l.ctx.Close()
		}
		return nil, err
	}
	return l, nil
}

func (l *link) setUp() (err error) {
	if l.ctx, err = openContext(l.fabric); err != nil {
		return err
	}
	pd, err := l.ctx.AllocPD()
	if err != nil {
		return err
	}
	n := l.experiment.qps()
	if l.sendCQ, err = l.ctx.CreateCQ(n*l.depth(), nil); err != nil {
		return err
	}
	if l.recvCQ, err = l.ctx.CreateCQ(n*l.depth(), nil); err != nil {
		return err
	}
	regions := []*region{&l.local, &l.open}
	for i, r := range regions {
		if r.b, err = l.alloc(i, n*l.stride); err != nil {
			return err
		}
	}
	l.fill() // before it is registered: a device can put only what is there into huge pages
	for _, r := range regions {
		if r.mr, err = l.ctx.RegMR(pd, r.b, verbs.LocalWrite|verbs.RemoteWrite|verbs.RemoteRead|verbs.RemoteAtomic); err != nil {
			return err
		}
	}
	for range n {
		q, err := l.ctx.CreateQP(pd, verbs.QPInit{
			SendCQ: l.sendCQ, RecvCQ: l.recvCQ,
			Cap: verbs.QPCap{SendWR: l.depth(), RecvWR: l.depth(), SendSGE: 1, RecvSGE: 1, Inline: l.inlineOr(DefaultInline)},
		})
		if err != nil {
			return err
		}
		l.qps = append(l.qps, q)
	}
	return l.connect()
}

func openContext(f bench.Fabric) (*verbs.Context, error) {
	switch f {
	case bench.Inproc:
		return verbs.Devices()[0].Open()
	case bench.Shm:
		port, err := shm.Open(shm.Options{})
		if err != nil {
			return nil, err
		}
		return verbs.Open(port)
	}
	return nil, fmt.Errorf("%w: fabric %q", bench.ErrCase, f)
}

// alloc returns n bytes for the i-th region.
func (l *link) alloc(i, n int) ([]byte, error) {
	if l.memory == Device {
		return l.ctx.AllocMem(n)
	}
	return plain.get(memoryKey{l.rank, i}, n), nil
}

// plain is the Go memory of this process. Experiments use the same again: whether it lies in huge pages, which is
// luck, changes the rate of cross-memory attach by a factor of two, so what is to be compared has to share it.
var plain = plainMemory{of: map[memoryKey][]byte{}}

type plainMemory struct {
	sync.Mutex
	of map[memoryKey][]byte
}

// memoryKey tells apart what one experiment uses: the two regions of the two ranks, which may be in one process.
type memoryKey struct{ rank, region int }

func (p *plainMemory) get(key memoryKey, n int) []byte {
	p.Lock()
	defer p.Unlock()
	if len(p.of[key]) < n {
		p.of[key] = make([]byte, n)
	}
	return p.of[key][:n:n]
}

// connect exchanges addresses with the peer, brings the queue pairs to RTS and posts receives.
func (l *link) connect() error {
	me := hello{Addr: l.ctx.Addr(), Open: l.open.mr.Addr(), RKey: l.open.mr.RKey()}
	for _, q := range l.qps {
		me.QPNs = append(me.QPNs, q.QPN())
	}
	if err := exchange(l.comm, me, &l.peer); err != nil {
		return err
	}
	if len(l.peer.QPNs) != len(l.qps) {
		return fmt.Errorf("%w: the peer has %d queue pairs, want %d", bench.ErrOutput, len(l.peer.QPNs), len(l.qps))
	}
	a := verbs.QPAttr{
		Access: verbs.RemoteRead | verbs.RemoteWrite | verbs.RemoteAtomic, Port: verbs.PortNum,
		AV: l.peer.Addr, PathMTU: l.ctx.FabricAttr().MTU, MaxRdAtomic: 16, MaxDestRdAtomic: 16, RetryCnt: 7, RNRRetry: 7,
	}
	for i, q := range l.qps {
		a.DestQPN = l.peer.QPNs[i]
		for _, step := range []struct {
			to   verbs.State
			mask verbs.AttrMask
		}{
			{verbs.Init, verbs.AttrPKeyIndex | verbs.AttrPort | verbs.AttrAccess},
			{verbs.RTR, verbs.AttrAV | verbs.AttrPathMTU | verbs.AttrDestQPN | verbs.AttrRQPSN |
				verbs.AttrMaxDestRdAtomic | verbs.AttrMinRNRTimer},
			{verbs.RTS, verbs.AttrSQPSN | verbs.AttrTimeout | verbs.AttrRetryCnt | verbs.AttrRNRRetry | verbs.AttrMaxRdAtomic},
		} {
			a.State = step.to
			if err := q.Modify(a, step.mask|verbs.AttrState); err != nil {
				return err
			}
		}
		if l.op.opcode == verbs.Send {
			for range l.depth() {
				if err := l.postRecv(i); err != nil {
					return err
				}
			}
		}
	}
	return l.comm.Barrier()
}

// exchange tells the other rank mine and returns its in theirs.
func exchange[T any](c *mpi.Comm, mine T, theirs *T) error {
	b, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	if len(b) > helloSize {
		return fmt.Errorf("%w: %d bytes to tell the peer, want at most %d", bench.ErrOutput, len(b), helloSize)
	}
	both := make([]byte, 2*helloSize)
	if err := mpi.Allgather(c, append(b, make([]byte, helloSize-len(b))...), both); err != nil {
		return err
	}
	peer := both[(1-c.Rank())*helloSize:][:helloSize]
	return json.Unmarshal(bytes.TrimRight(peer, "\x00"), theirs)
}

// close ends this side when the other has done too.
func (l *link) close() error {
	err := l.comm.Barrier()
	if e := l.ctx.Close(); err == nil {
		err = e
	}
	return err
}

// at is queue pair i's part of the region.
func (l *link) at(r *region, i int) []byte { return r.b[i*l.stride:][:l.size] }

// request returns the list of the one request that queue pair i posts again and again.
func (l *link) request(i int) []verbs.SendWR {
	wr := verbs.SendWR{
		ID: uint64(i), Opcode: l.op.opcode, SG: []verbs.SGE{{Buf: l.at(&l.local, i), LKey: l.local.mr.LKey()}},
		RemoteAddr: l.peer.Open + uint64(i*l.stride), RKey: l.peer.RKey, Add: 1,
	}
	if l.inline(l.size) {
		wr.Flags = verbs.Inline
	}
	return []verbs.SendWR{wr}
}

func (l *link) postRecv(i int) error {
	return l.qps[i].PostRecv(verbs.RecvWR{ID: uint64(i), SG: []verbs.SGE{{Buf: l.at(&l.open, i), LKey: l.open.mr.LKey()}}})
}

// poll takes completions out of a queue; a failed one is an error.
func (l *link) poll(cq *verbs.CQ) ([]verbs.WC, error) {
	n, err := cq.Poll(l.wcs)
	if err != nil {
		return nil, err
	}
	for i := range l.wcs[:n] {
		if wc := &l.wcs[i]; wc.Status != verbs.Success {
			return nil, fmt.Errorf("%s of %d bytes: %w: %s", l.op.title, l.size, wc.Status, wc.Detail)
		}
	}
	return l.wcs[:n], nil
}

// active tells whether a rank posts requests. In a ping-pong both do.
func (l *link) active(rank int) bool {
	if l.metric == Latency {
		return rank == 0 || l.op.opcode == verbs.Send || l.op.opcode == verbs.Write
	}
	return rank == 0 || l.Both
}

// fill writes a pattern where data comes from, and something else where it goes.
func (l *link) fill() {
	from, to := &l.local, &l.open
	if l.op.opcode == verbs.Read {
		from, to = to, from
	}
	for i := range l.experiment.qps() {
		pattern(l.at(from, i), l.rank, i)
		for j, v := range l.at(from, i) {
			l.at(to, i)[j] = ^v
		}
		if l.op.atomic() {
			clear(l.at(to, i))
		}
	}
}

// pattern fills b with what queue pair i of a rank sends.
func pattern(b []byte, rank, i int) {
	for j := range b {
		b[j] = byte(j*131 + j>>8*17 + rank*89 + i*29 + 7)
	}
}

// verify checks what has arrived here after so many requests on each queue pair, if this side is one where data arrives. The NIC
// may have written it on a goroutine of its own: after a call of the NIC, this one sees that.
func (l *link) verify(posted uint64) error {
	if _, err := l.poll(l.recvCQ); err != nil {
		return err
	}
	for i := range l.experiment.qps() {
		if err := l.verifyQP(i, posted); err != nil {
			return fmt.Errorf("queue pair %d: %w", i, err)
		}
	}
	return nil
}

func (l *link) verifyQP(i int, posted uint64) error {
	if l.op.opcode == verbs.Read {
		if !l.active(l.rank) {
			return nil
		}
	} else if !l.active(1 - l.rank) {
		return nil
	}
	if l.op.atomic() {
		if got := binary.NativeEndian.Uint64(l.at(&l.open, i)); got != posted {
			return fmt.Errorf("%w: %d atomics left %d in the counter", bench.ErrWrong, posted, got)
		}
		return nil
	}
	want := make([]byte, l.size)
	pattern(want, 1-l.rank, i)
	if l.op.opcode == verbs.Read {
		return mustEqual(l.at(&l.local, i), want)
	}
	if l.op.opcode == verbs.Write && l.metric == Latency {
		want[l.size-1] = byte(posted) // the flag
	}
	return mustEqual(l.at(&l.open, i), want)
}

func mustEqual(got, want []byte) error {
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("%w: byte %d of %d is %#x after all transfers, want %#x", bench.ErrWrong, i, len(want), got[i], want[i])
		}
	}
	return nil
}
