package unit

import (
	"encoding/binary"

	"outboard/nicrt"
	"outboard/tagmatch"
)

// Program is the number under which the unit is installed on every NIC.
const Program = 1

// What a message is, in Header.Op.
const (
	opEager  = iota + 1 // the payload is the data
	opRTS               // request to send: the payload is a rts
	opRevoke            // the context has ended for the sender; the payload says why
	opFIN               // Header.Tag is the id of a send that the peer is done with, Header.Aux how
)

// How a receiver is done with a message, in Header.Aux of a FIN.
const (
	finTaken   = iota // its buffer has been read
	finRefused        // the message is given up
)

// keyOf is the key of a message: Header.Tag has the source in its upper half, the tag in the lower.
func keyOf(h *nicrt.Header) tagmatch.Key {
	return tagmatch.Key{Ctx: h.Ctx, Source: int32(h.Tag >> 32), Tag: int32(h.Tag)}
}

func header(op uint8, k tagmatch.Key) nicrt.Header {
	return nicrt.Header{Program: Program, Op: op, Ctx: k.Ctx, Tag: uint64(uint32(k.Source))<<32 | uint64(uint32(k.Tag))}
}

// rts is what a request to send carries.
type rts struct {
	addr, len uint64
	key       uint32 // of the exposed buffer
	id        uint32 // of the send, see table
}

const rtsLen = 24

func (r *rts) encode() (b [rtsLen]byte) {
	binary.LittleEndian.PutUint64(b[0:], r.addr)
	binary.LittleEndian.PutUint64(b[8:], r.len)
	binary.LittleEndian.PutUint32(b[16:], r.key)
	binary.LittleEndian.PutUint32(b[20:], r.id)
	return b
}

// decode reads what encode has written. It reports false if b cannot be that.
func (r *rts) decode(b []byte) bool {
	if len(b) != rtsLen {
		return false
	}
	r.addr, r.len = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	r.key, r.id = binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])
	return int64(r.len) >= 0
}
