package verbs

import (
	"encoding/binary"
	"fmt"
)

// TMOpcode is what a message for a tag-matching shared receive queue is, with the numbers of ibv_tmh_op.
type TMOpcode uint8

const (
	TMNoTag TMOpcode = iota // not to be matched; what follows the opcode is the sender's own
	TMRndv                  // rendezvous request: TMH, RVH and up to Limits.MaxTMRndvHdr bytes in all
	TMFin                   // answer to it: the memory has been read and belongs to its owner again
	TMEager                 // TMH and data
	numTMOpcodes
)

var tmOpcodeText = [numTMOpcodes]string{"NO_TAG", "RNDV", "FIN", "EAGER"}

func (o TMOpcode) String() string {
	if o < numTMOpcodes {
		return tmOpcodeText[o]
	}
	return fmt.Sprintf("tag-matching opcode %d", uint8(o))
}

// Sizes of the headers in bytes, and the most that a rendezvous can move: what one RDMA READ can.
const (
	TMHSize    = 16
	RVHSize    = 16
	MaxRndvLen = maxIBMsg
)

// A TMH is the tag-matching header with which a message begins (ibv_tmh).
type TMH struct {
	Opcode TMOpcode
	AppCtx uint32 // for the receiver's software
	Tag    uint64
}

// AppendTo appends the header as it goes over the wire.
func (h TMH) AppendTo(b []byte) []byte {
	b = append(b, byte(h.Opcode), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.AppCtx)
	return binary.BigEndian.AppendUint64(b, h.Tag)
}

// An RVH is the rendezvous header, which follows the TMH of a request (ibv_rvh): the sender's memory.
type RVH struct {
	Addr uint64
	RKey uint32
	Len  uint32 // bytes, up to MaxRndvLen
}

// AppendTo appends the header as it goes over the wire.
func (h RVH) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, h.Addr)
	b = binary.BigEndian.AppendUint32(b, h.RKey)
	return binary.BigEndian.AppendUint32(b, h.Len)
}

// ParseTM reads the headers of a message, for software that got one in an ordinary receive: the TMH and, of a TMRndv,
// the RVH; what follows them is b[TMHSize:] or b[TMHSize+RVHSize:]. ErrInvalid if b is shorter than its headers,
// its opcode is unknown or its length is above MaxRndvLen. A TMNoTag message may be of one byte; what is missing reads as zero.
func ParseTM(b []byte) (TMH, RVH, error) {
	h, r, why := parseTM(b)
	if why != "" {
		return TMH{}, RVH{}, opErr("parse_tmh", "", ErrInvalid, "%s", why)
	}
	return h, r, nil
}

func parseTM(b []byte) (h TMH, r RVH, why string) {
	if len(b) == 0 {
		return h, r, "message of 0 bytes: expected a TMH"
	}
	h.Opcode = TMOpcode(b[0])
	need := TMHSize
	switch {
	case h.Opcode >= numTMOpcodes:
		return h, r, h.Opcode.String() + ": unknown"
	case h.Opcode == TMNoTag && len(b) < TMHSize:
		return h, r, ""
	case h.Opcode == TMRndv:
		need += RVHSize
	}
	if len(b) < need {
		return h, r, fmt.Sprintf("%v message of %d bytes: expected at least %d", h.Opcode, len(b), need)
	}
	h.AppCtx, h.Tag = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:])
	if h.Opcode == TMRndv {
		v := b[TMHSize:]
		r = RVH{Addr: binary.BigEndian.Uint64(v), RKey: binary.BigEndian.Uint32(v[8:]), Len: binary.BigEndian.Uint32(v[12:])}
		if r.Len > MaxRndvLen {
			why = fmt.Sprintf("rendezvous of %d bytes: expected at most %d", r.Len, uint32(MaxRndvLen))
		}
	}
	return h, r, why
}
