package unit

import (
	"sync/atomic"

	"outboard/tagmatch"
)

// An Op is a send or a receive in flight. The caller owns the memory of the Op and of its
// buffer, and must not touch either from Send or Recv until Done is not zero. Then
// the other exported fields are valid and the Op may be used again. The zero Op is ready for use.
type Op struct {
	Done atomic.Uint32
	// Err is nil, ErrTruncate, or why the operation failed: a *nicrt.PeerError when the peer was lost, ErrRefused,
	// *RangeError or *tagmatch.KeyError for bad arguments, what FailContext or Cancel was given, or what kept the NIC
	// from exposing or reading the buffer.
	Err error
	// Source and Tag are those of the message that a receive took. Len is the length of the whole message in bytes, of a send too.
	Source, Tag int32
	Len         int

	key    tagmatch.Key
	buf    []byte
	handle tagmatch.Handle
	unit   *Unit // while reading
	peer   int32
	state  opState
	rts    rts
}

// opState is where an Op stands:
//
//	receive: idle ─▶ posted ─▶ idle; idle or posted ─▶ reading ─▶ idle
//	send:    idle ─▶ queued ─▶ idle; queued ─▶ waiting ─▶ idle
type opState uint8

const (
	idle    opState = iota // the caller's
	posted                 // receive that waits for its message
	queued                 // send that waits for room on the wire
	waiting                // send that waits for FIN
	reading                // receive whose data is being read
)

func (op *Op) start(k tagmatch.Key, buf []byte) {
	op.Err, op.key, op.buf = nil, k, buf
	op.Done = atomic.Uint32{} // nobody else looks at it: no fence
}

// finish gives an Op back to its owner.
func (u *Unit) finish(op *Op, err error) {
	op.Err, op.buf, op.unit, op.state = err, nil, nil, idle
	op.Done.Store(1)
	u.nic.Completed()
}

// opReader is an Op as the NIC sees it that reads for it.
type opReader struct{ op *Op }

// ReadDone takes the end of a read that the NIC could not do at once.
func (r opReader) ReadDone(_ uint64, err error) { r.op.unit.readDone(r.op, err) }
