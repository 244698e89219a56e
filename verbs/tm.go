package verbs

// TMInfo is what a completion tells of a tagged buffer.
type TMInfo struct {
	Tag    uint64 // of the matched message's header (ibv_wc_read_tm_info); only with TMMatch
	AppCtx uint32 // likewise
	Handle uint32 // of the entry, as TagAdd gave it
}

// TMInit makes a shared receive queue a tag-matching one (IBV_SRQT_TM of ibv_create_srq_ex(3)), which serves reliable
// connections only. SEND messages to its queue pairs begin with a TMH. The NIC holds tagged buffers, and what arrives
// with a tag that one of them accepts goes there:
//
//   - an eager message without its header. The completion is WCTMRecv with the flags TMMatch and TMDataValid, or, if the
//     message takes several packets, there are two: TMMatch when it begins and TMDataValid when it is all there;
//   - a rendezvous request has the NIC fetch the sender's memory into the buffer by an RDMA READ and then tell the sender
//     so by a message of 16 bytes, its TMH with opcode TMFin. The completions are WCTMRecv with TMMatch and, when the
//     data has come, WCTMRecv with TMDataValid. If the buffer is too small it gets the message's headers instead:
//     one completion with status TMRndvIncomplete, whose other fields are valid, and software goes on.
//
// All other messages take an ordinary receive of the queue and keep their headers: those that match nothing complete as
// WCTMRecv without TMMatch, and those without a tag (TMNoTag, TMFin) as WCTMNoTag. TM of their completions is zero.
//
// The NIC uses the send queues of the queue pairs for itself: they take no requests of their host.
//
// Source: Documentation/tag_matching.md of rdma-core. Where it leaves a choice this device does what mlx5 does:
// a message that matches nothing completes as IBV_WC_TM_RECV.
type TMInit struct {
	MaxTags int // tagged buffers at once, 1 to Limits.MaxTMTags
	// MaxOps are the operations outstanding, 1 to Limits.MaxTMOps. The NIC executes operations at
	// once: one is outstanding until its completion, if it is to have one, has been polled.
	MaxOps int
	CQ     *CQ // gets all completions of the queue, the ordinary receives' too
	// List, if set, decides which buffer a message goes to. It must have room for MaxTags entries. It belongs to
	// the queue, which calls it with the NIC locked: it must not call the NIC.
	List TagList
}

// tagMatching is what a tag-matching shared receive queue has besides its receives.
type tagMatching struct {
	init     TMInit
	list     TagList
	entries  map[uint32]*tmEntry // by handle
	listed   map[uint32]*tmEntry // those in list, by its own handles
	waiting  []*tmEntry          // those out of phase, in order of addition
	spare    []*tmEntry
	last     uint32   // handle given last
	unmet    uint32   // messages that matched nothing
	handled  uint32   // how many of them software has handled, as it has last said
	unpolled []uint64 // positions in the completion queue of operations outstanding
	noPhase  bool     // of tests: tags are never out of phase
}

// tmEntry is a tagged buffer.
type tmEntry struct {
	wrID      uint64
	handle    uint32
	inner     uint32 // list's handle
	tag, mask uint64
	sg        []SGE
	held      uint32
	solicited bool // the rendezvous that it serves

	fin   [TMHSize]byte // to be sent when its rendezvous is done
	finSG [1]SGE
}

// matchesTags tells whether a queue, which may be nil, is a tag-matching one.
func (s *SRQ) matchesTags() bool { return s != nil && s.tm != nil }

// initTM makes a shared receive queue a tag-matching one.
func (s *SRQ) initTM(in TMInit) *Error {
	const op = "create_srq"
	c := s.ctx
	l := &c.limits
	switch {
	case in.MaxTags < 1 || in.MaxTags > l.MaxTMTags:
		return opErr(op, "", ErrInvalid, "max_num_tags %d: expected 1 to %d", in.MaxTags, l.MaxTMTags)
	case in.MaxOps < 1 || in.MaxOps > l.MaxTMOps:
		return opErr(op, "", ErrInvalid, "max_ops %d: expected 1 to %d", in.MaxOps, l.MaxTMOps)
	case !in.CQ.liveIn(c):
		return opErr(op, "", ErrInvalid, "completion queue for tag matching is not a live one of this context")
	}
	s.tm = &tagMatching{init: in, list: in.List, entries: map[uint32]*tmEntry{}, listed: map[uint32]*tmEntry{}}
	if s.tm.list == nil {
		s.tm.list = NewTagList(in.MaxTags)
	}
	in.CQ.users++
	return nil
}

// destroy drops the tagged buffers.
func (t *tagMatching) destroy(c *Context) {
	for _, e := range t.entries {
		c.unhold(e.sg, e.held)
	}
	t.init.CQ.users--
}

// newEntry gives an entry with a handle of its own.
func (t *tagMatching) newEntry() *tmEntry {
	for used := true; used; {
		t.last++
		_, used = t.entries[t.last]
		used = used || t.last == 0
	}
	e := &tmEntry{}
	if n := len(t.spare); n > 0 {
		e = t.spare[n-1]
		t.spare = t.spare[:n-1]
	}
	e.handle = t.last
	t.entries[e.handle] = e
	return e
}

// recycle keeps an entry that has left for the next.
func (t *tagMatching) recycle(e *tmEntry) {
	clear(e.sg)
	*e = tmEntry{sg: e.sg[:0]}
	t.spare = append(t.spare, e)
}

// inPhase tells whether software has handled all messages that matched nothing. If not, one of them may be for a buffer that is
// added now, and that buffer must not take a later message.
func (t *tagMatching) inPhase() bool { return t.noPhase || t.handled == t.unmet }

// sync takes software's word of how many messages it has handled. In phase, the entries that wait go into the list.
func (t *tagMatching) sync(handled uint32) {
	t.handled = handled
	if !t.inPhase() {
		return
	}
	n := 0
	for _, e := range t.waiting {
		inner, ok := t.list.Add(e.tag, e.mask)
		if !ok {
			break // they go on waiting
		}
		e.inner = inner
		t.listed[inner] = e
		n++
	}
	rest := copy(t.waiting, t.waiting[n:])
	clear(t.waiting[rest:])
	t.waiting = t.waiting[:rest]
}

// match takes the entry that a message goes to out of the list; nil if there is none.
func (t *tagMatching) match(tag uint64) *tmEntry {
	inner, ok := t.list.Match(tag)
	e := t.listed[inner]
	if !ok || e == nil {
		return nil
	}
	delete(t.listed, inner)
	delete(t.entries, e.handle)
	return e
}

// syncFlag is the flag of a receive's completion that asks for a TagSync: buffers wait for it.
func (t *tagMatching) syncFlag() WCFlags {
	if len(t.waiting) > 0 {
		return TMSyncReq
	}
	return 0
}
