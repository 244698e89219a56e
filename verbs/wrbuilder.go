package verbs

// A WRBuilder makes a list of send requests by one call for each part of them, and posts it as a whole: the manner of
// ibv_wr_start and what follows it (ibv_wr_post(3)). A method named for an operation begins a request, with ID and Flags as they
// are then; the setters after it give that request its data. Nothing is visible to the NIC before Complete.
//
// A mistake shows in Complete: the methods do not fail. After Complete and Abort the builder is empty and ready for the next list,
// and reuses its memory: a loop with one builder allocates nothing.
//
// A builder belongs to one goroutine at a time. A queue pair may have several, and PostSend may be used beside them: the
// requests of one Complete stay together.
type WRBuilder struct {
	// ID and Flags are for the requests that are begun from now on; Complete and Abort leave them. Inline is set by SetInline.
	ID    uint64
	Flags SendFlags

	qp   *QP
	wrs  []builtWR
	sge  []SGE
	data []byte // of inline requests
	err  *Error // the first mistake
}

// builtWR is a request under construction. What it points to is found when all requests are there, since slices that grow move.
type builtWR struct {
	wr     SendWR
	args   wrArgs
	hasUD  bool
	given  dataKind
	lo, hi int // of the builder's sge or data
	n      int // bytes
}

type dataKind uint8

const (
	noData dataKind = iota
	sgeData
	inlineData
)

// Start makes a builder for the send queue.
func (q *QP) Start() *WRBuilder { return &WRBuilder{qp: q} }

func (b *WRBuilder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = opErr("wr_complete", b.qp.name(), ErrInvalid, format, args...)
		b.err.Index = max(0, len(b.wrs)-1)
	}
}

// begin appends a request.
func (b *WRBuilder) begin(o Opcode) *builtWR {
	b.wrs = append(b.wrs, builtWR{wr: SendWR{ID: b.ID, Opcode: o, Flags: b.Flags &^ Inline}})
	return &b.wrs[len(b.wrs)-1]
}

func (b *WRBuilder) remote(o Opcode, rkey uint32, addr uint64) *builtWR {
	w := b.begin(o)
	w.wr.RKey, w.wr.RemoteAddr = rkey, addr
	return w
}

// Send begins a SEND, SendImm one with an immediate, SendInv one that invalidates a key of the peer.
func (b *WRBuilder) Send()                 { b.begin(Send) }
func (b *WRBuilder) SendImm(imm uint32)    { b.begin(SendImm).wr.Imm = imm }
func (b *WRBuilder) SendInv(invKey uint32) { b.begin(SendInv).wr.InvKey = invKey }

// Write begins an RDMA WRITE to memory of the peer, WriteImm one with an immediate, Read an RDMA READ.
func (b *WRBuilder) Write(rkey uint32, addr uint64) { b.remote(Write, rkey, addr) }
func (b *WRBuilder) WriteImm(rkey uint32, addr uint64, imm uint32) {
	b.remote(WriteImm, rkey, addr).wr.Imm = imm
}
func (b *WRBuilder) Read(rkey uint32, addr uint64) { b.remote(Read, rkey, addr) }

// CompareSwap begins a CMP_AND_SWP and FetchAdd a FETCH_AND_ADD on 8 bytes of the peer. The value before goes to the data.
func (b *WRBuilder) CompareSwap(rkey uint32, addr, compare, swap uint64) {
	w := b.remote(CompareSwap, rkey, addr)
	w.wr.Compare, w.wr.Swap = compare, swap
}

func (b *WRBuilder) FetchAdd(rkey uint32, addr, add uint64) {
	b.remote(FetchAdd, rkey, addr).wr.Add = add
}

// MaskedCompareSwap and MaskedFetchAdd are the forms with masks; see AtomicMask.
func (b *WRBuilder) MaskedCompareSwap(rkey uint32, addr, compare, swap uint64, m AtomicMask) {
	w := b.remote(MaskedCompareSwap, rkey, addr)
	w.wr.Compare, w.wr.Swap, w.args.mask = compare, swap, m
}

func (b *WRBuilder) MaskedFetchAdd(rkey uint32, addr, add uint64, m AtomicMask) {
	w := b.remote(MaskedFetchAdd, rkey, addr)
	w.wr.Add, w.args.mask = add, m
}

// LocalInv begins the invalidation of a key of this side, BindMW the binding of a memory window.
func (b *WRBuilder) LocalInv(invKey uint32) { b.begin(LocalInv).wr.InvKey = invKey }
func (b *WRBuilder) BindMW(m MWBind)        { b.begin(BindMW).args.bind = m }

// Wait begins a WAIT for a counter; see WaitFor. Enable begins a SEND_ENABLE of another queue pair; see the type of that name.
func (b *WRBuilder) Wait(k *Counter, threshold uint64) {
	b.begin(WaitCounter).args.wait = WaitFor{k, threshold}
}

func (b *WRBuilder) Enable(q *QP, count uint32) { b.begin(SendEnable).args.enable = Enable{q, count} }

// setter gives the request that a setter is for, nil if there is none.
func (b *WRBuilder) setter(name string) *builtWR {
	if len(b.wrs) == 0 {
		b.fail("%s before any request", name)
		return nil
	}
	return &b.wrs[len(b.wrs)-1]
}

// dataSetter gives the request whose data is set, nil if that must not be.
func (b *WRBuilder) dataSetter(name string, kind dataKind) *builtWR {
	w := b.setter(name)
	switch {
	case w == nil:
		return nil
	case w.wr.Opcode.has(opLocal):
		b.fail("%s: %v has no data", name, w.wr.Opcode)
		return nil
	case w.given != noData:
		b.fail("%s: the request has its data", name)
		return nil
	}
	w.given = kind
	return w
}

// SetSGE gives the request its data, as one piece; SetSGEList as several, of which the list, but not the memory, is copied. Once for
// each request, and not at all for one without data.
func (b *WRBuilder) SetSGE(g SGE) {
	if w := b.dataSetter("SetSGE", sgeData); w != nil {
		w.lo = len(b.sge)
		b.sge = append(b.sge, g)
		w.hi = len(b.sge)
	}
}

func (b *WRBuilder) SetSGEList(sg []SGE) {
	if w := b.dataSetter("SetSGEList", sgeData); w != nil {
		w.lo = len(b.sge)
		b.sge = append(b.sge, sg...)
		w.hi = len(b.sge)
	}
}

// SetInline gives the request its data and copies it at once: the buffer is free on return and needs no key.
// SetInlineList copies several buffers, one behind the other.
func (b *WRBuilder) SetInline(p []byte) {
	if w := b.inlineSetter("SetInline", len(p)); w != nil {
		w.lo = len(b.data)
		b.data = append(b.data, p...)
		w.hi = len(b.data)
	}
}

func (b *WRBuilder) SetInlineList(ps [][]byte) {
	n := 0
	for _, p := range ps {
		n += len(p)
	}
	if w := b.inlineSetter("SetInlineList", n); w != nil {
		w.lo = len(b.data)
		for _, p := range ps {
			b.data = append(b.data, p...)
		}
		w.hi = len(b.data)
	}
}

// inlineSetter is dataSetter for n bytes inline: what does not fit is not even copied.
func (b *WRBuilder) inlineSetter(name string, n int) *builtWR {
	if most := b.qp.init.Cap.Inline; n > most {
		b.fail("%s: %d bytes inline: expected at most %d", name, n, most)
		return nil
	}
	w := b.dataSetter(name, inlineData)
	if w != nil {
		w.wr.Flags |= Inline
	}
	return w
}

// SetUD says where the datagram of the request goes. Each request of a UD queue pair needs it, and no other may have it.
func (b *WRBuilder) SetUD(to UDDest) {
	w := b.setter("SetUD")
	switch {
	case w == nil:
	case b.qp.init.Type != UD:
		b.fail("SetUD: the queue pair is of type %v", b.qp.init.Type)
	case w.wr.Opcode.has(opLocal):
		b.fail("SetUD: %v goes nowhere", w.wr.Opcode)
	default:
		w.args.ud, w.hasUD = to, true
	}
}

// Abort forgets the list.
func (b *WRBuilder) Abort() {
	clear(b.wrs)
	clear(b.sge)
	b.wrs, b.sge, b.data, b.err = b.wrs[:0], b.sge[:0], b.data[:0], nil
}

// Complete posts the requests, in order and as one list: all of them, or none if there is an error, whose Index is that of the first
// bad request. The errors are those of PostSend. An empty list is no mistake.
func (b *WRBuilder) Complete() error {
	defer b.Abort()
	if b.err != nil {
		return b.err
	}
	q := b.qp
	q.ctx.mu.Lock()
	defer q.ctx.unlock()
	room := uint64(len(q.sq.ring)) - (q.sq.head - q.sq.free)
	for i := range b.wrs {
		w := &b.wrs[i]
		b.point(w)
		var err *Error
		if w.n, err = q.checkSend(&w.wr); err == nil && uint64(i) >= room {
			err = opErr("", q.name(), ErrQueueFull, "%d requests of which no completion has been taken, and a list of %d", q.sq.head-q.sq.free, len(b.wrs))
		}
		if err != nil {
			err.Op, err.Index = "wr_complete", i
			return err
		}
	}
	for i := range b.wrs {
		q.enqueue(&b.wrs[i].wr, b.wrs[i].n)
	}
	if q.ctx.stirred {
		q.ctx.settle()
	}
	return nil
}

// point has a request point to what the builder keeps for it.
func (b *WRBuilder) point(w *builtWR) {
	switch w.given {
	case sgeData:
		w.wr.SG = b.sge[w.lo:w.hi]
	case inlineData:
		at := len(b.sge)
		b.sge = append(b.sge, SGE{Buf: b.data[w.lo:w.hi]})
		w.wr.SG = b.sge[at:]
	}
	switch w.wr.Opcode {
	case MaskedCompareSwap, MaskedFetchAdd:
		w.wr.Mask = &w.args.mask
	case BindMW:
		w.wr.Bind = &w.args.bind
	case WaitCounter:
		w.wr.Wait = &w.args.wait
	case SendEnable:
		w.wr.Enable = &w.args.enable
	}
	if w.hasUD {
		w.wr.UD = &w.args.ud
	}
}
