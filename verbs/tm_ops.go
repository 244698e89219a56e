package verbs

import (
	"fmt"
	"slices"
)

// TMOpKind is an operation on the matching list (ibv_ops_wr_opcode).
type TMOpKind uint8

// The operations.
const (
	TagAdd  TMOpKind = iota // adds a tagged buffer
	TagDel                  // removes one
	TagSync                 // says how many messages software has handled
	numTMOpKinds
)

var tmOpKindText = [numTMOpKinds]string{"TAG_ADD", "TAG_DEL", "TAG_SYNC"}

func (k TMOpKind) String() string {
	if k < numTMOpKinds {
		return tmOpKindText[k]
	}
	return fmt.Sprintf("invalid list operation %d", uint8(k))
}

// TMOpFlags modify an operation (ibv_ops_flags).
type TMOpFlags uint8

const (
	// OpsSignaled asks for a completion. Without it there is none, even of a TagDel that fails.
	OpsSignaled TMOpFlags = 1 << iota
	// OpsSync says that UnexpectedCnt is set. TagSync implies it.
	OpsSync
)

// A TMOp is an operation on the matching list of a tag-matching shared receive queue (ibv_ops_wr).
type TMOp struct {
	ID    uint64 // comes back in the operation's completion
	Kind  TMOpKind
	Flags TMOpFlags
	// UnexpectedCnt is the number of messages that matched nothing that software has
	// handled since the queue was made, modulo 2^32: those whose completion it has polled and which it has matched
	// itself against the buffers posted so far.
	UnexpectedCnt uint32
	Handle        uint32 // names the buffer: TagAdd sets it, TagDel takes it. Never 0

	// Of TagAdd. The SG list is copied; the memory is the NIC's until a completion with RecvWRID
	// that has TMDataValid or has failed, or until a TagDel succeeds.
	RecvWRID uint64 // comes back in the completions of the buffer
	SG       []SGE
	Tag      uint64
	Mask     uint64 // the buffer accepts a message if its tag & Mask == Tag
}

// PostOps executes operations on the matching list, in order (ibv_post_srq_ops(3)). On an error those before Error.Index are
// executed and the rest are not. ErrQueueFull if the list has MaxTags entries or MaxOps operations are outstanding.
//
// A message that matches nothing is handled by software, and until it has been, a buffer that is added may be the one that it is
// for. So the NIC counts such messages, and buffers added while software's UnexpectedCnt is another number take no message: they wait,
// in order, for an operation with the NIC's number. A signaled operation that leaves the two different completes with the
// flag TMSyncReq, and so does a receive while buffers wait.
//
// A TagDel of a buffer that has been matched, or never was, completes with status TMErr.
func (s *SRQ) PostOps(ops ...*TMOp) error {
	s.ctx.mu.Lock()
	defer s.ctx.unlock()
	for i, op := range ops {
		if err := s.postOp(op); err != nil {
			err.Object, err.Index = s.name(), i
			return err
		}
	}
	return nil
}

func (s *SRQ) postOp(op *TMOp) *Error {
	const call = "post_srq_ops"
	t := s.tm
	switch {
	case s.dead:
		return opErr(call, "", ErrDestroyed, "destroyed")
	case s.ctx.closed:
		return opErr(call, "", ErrDestroyed, "context is closed")
	case t == nil:
		return opErr(call, "", ErrInvalid, "the queue matches no tags: expected one made with TM")
	case op == nil:
		return opErr(call, "", ErrInvalid, "operation is nil")
	case op.Kind >= numTMOpKinds:
		return opErr(call, "", ErrInvalid, "%v: expected 0 to %d", op.Kind, numTMOpKinds-1)
	case op.Flags&^(OpsSignaled|OpsSync) != 0:
		return opErr(call, "", ErrInvalid, "unknown flags %#x", uint8(op.Flags))
	case t.outstanding() >= t.init.MaxOps:
		return opErr(call, "", ErrQueueFull, "%d list operations outstanding", t.init.MaxOps)
	}
	switch op.Kind {
	case TagAdd:
		if err := s.tagAdd(op); err != nil {
			return err
		}
		t.opDone(op, WCTMAdd, Success, "")
	case TagDel:
		ok := s.tagDel(op.Handle)
		if op.Flags&OpsSync != 0 {
			t.sync(op.UnexpectedCnt)
		}
		if ok {
			t.opDone(op, WCTMDel, Success, "")
		} else {
			t.opDone(op, WCTMDel, TMErr, fmt.Sprintf("no buffer with handle %d is in the list", op.Handle))
		}
	case TagSync:
		t.sync(op.UnexpectedCnt)
		t.opDone(op, WCTMSync, Success, "")
	}
	return nil
}

// outstanding counts the operations whose completions have not been polled.
func (t *tagMatching) outstanding() int {
	n := 0
	for n < len(t.unpolled) && t.unpolled[n] < t.init.CQ.head {
		n++
	}
	t.unpolled = append(t.unpolled[:0], t.unpolled[n:]...)
	return len(t.unpolled)
}

func (t *tagMatching) opDone(op *TMOp, kind WCOpcode, st Status, detail string) {
	if op.Flags&OpsSignaled == 0 {
		return
	}
	wc := WC{ID: op.ID, Opcode: kind, Status: st, Detail: detail}
	if t.handled != t.unmet {
		wc.Flags = TMSyncReq
	}
	t.unpolled = append(t.unpolled, t.init.CQ.tail)
	t.init.CQ.push(wc, false)
}

func (s *SRQ) tagAdd(op *TMOp) *Error {
	const call = "post_srq_ops"
	t, l := s.tm, &s.ctx.limits
	switch {
	case len(op.SG) > l.MaxTMSGE:
		return opErr(call, "", ErrInvalid, "%d scatter/gather entries: expected at most %d", len(op.SG), l.MaxTMSGE)
	case len(t.entries) >= t.init.MaxTags:
		return opErr(call, "", ErrQueueFull, "%d tags in the list", len(t.entries))
	}
	e := t.newEntry()
	e.wrID, e.tag, e.mask = op.RecvWRID, op.Tag, op.Mask
	e.sg = append(e.sg[:0], op.SG...)
	e.held = s.ctx.hold(e.sg)
	t.waiting = append(t.waiting, e)
	handled := t.handled
	if op.Flags&OpsSync != 0 {
		handled = op.UnexpectedCnt
	}
	t.sync(handled)
	if n := len(t.waiting); n > 0 && t.inPhase() && t.waiting[n-1] == e {
		s.drop(e)
		return opErr(call, "", ErrQueueFull, "the list of tags takes no more than %d", t.list.Len())
	}
	op.Handle = e.handle
	return nil
}

// tagDel removes a buffer from the list, or from those that wait.
func (s *SRQ) tagDel(handle uint32) bool {
	e := s.tm.entries[handle]
	if e == nil {
		return false
	}
	s.drop(e)
	return true
}

// drop forgets a buffer that has not been matched.
func (s *SRQ) drop(e *tmEntry) {
	t := s.tm
	if i := slices.Index(t.waiting, e); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	} else {
		t.list.Del(e.inner)
		delete(t.listed, e.inner)
	}
	delete(t.entries, e.handle)
	s.ctx.unhold(e.sg, e.held)
	t.recycle(e)
}
