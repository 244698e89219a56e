package nicrt

import (
	"encoding/binary"
	"fmt"
)

// HeaderLen is the length of an encoded [Header] in bytes.
const HeaderLen = 16

// A Header stands in front of every message's payload on the wire. The NIC
// reads only Program, which selects the installed program; the other fields
// belong to that program.
//
// On the wire it takes HeaderLen bytes, little endian, in field order and
// without padding:
//
//	byte 0     Program
//	byte 1     Op
//	bytes 2-3  Aux
//	bytes 4-7  Ctx
//	bytes 8-15 Tag
type Header struct {
	Program uint8  // the program that handles the message
	Op      uint8  // what the program is asked to do
	Aux     uint16 // small argument
	Ctx     uint32 // namespace of Tag: a group, a window, a flow
	Tag     uint64 // selects within Ctx
}

// Encode writes h into the first HeaderLen bytes of b, which must be that
// long.
func (h *Header) Encode(b []byte) {
	_ = b[HeaderLen-1]
	le := binary.LittleEndian
	le.PutUint64(b, uint64(h.Program)|uint64(h.Op)<<8|uint64(h.Aux)<<16|uint64(h.Ctx)<<32)
	le.PutUint64(b[8:], h.Tag)
}

// Decode reads h from the first HeaderLen bytes of b, which must be that
// long. Every bit pattern is a header; [ParseHeader] is for bytes whose length
// has not been checked.
func (h *Header) Decode(b []byte) {
	_ = b[HeaderLen-1]
	le := binary.LittleEndian
	w := le.Uint64(b)
	h.Program, h.Op, h.Aux, h.Ctx = uint8(w), uint8(w>>8), uint16(w>>16), uint32(w>>32)
	h.Tag = le.Uint64(b[8:])
}

// ParseHeader splits a message into its header and its payload, which aliases
// b. It returns a [*ShortMessageError] when b does not hold a whole header.
func ParseHeader(b []byte) (h Header, payload []byte, err error) {
	if len(b) < HeaderLen {
		return Header{}, nil, &ShortMessageError{Len: len(b)}
	}
	h.Decode(b)
	return h, b[HeaderLen:], nil
}

// A ShortMessageError reports a message too short to hold a header.
type ShortMessageError struct {
	Len int // bytes that were there
}

func (e *ShortMessageError) Error() string {
	return fmt.Sprintf("nicrt: message of %d bytes, a header takes %d", e.Len, HeaderLen)
}

func (h Header) String() string {
	return fmt.Sprintf("program %d op %d aux %d ctx %d tag %#x", h.Program, h.Op, h.Aux, h.Ctx, h.Tag)
}
