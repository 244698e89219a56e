package ib

import (
	"encoding/binary"
	"slices"
)

// Lengths in bytes.
const (
	GRHLen     = 40                                        // global route header: the IPv6 header
	ICRCLen    = 4                                         // invariant CRC
	MaxHeaders = GRHLen + bthLen + atomicETHLen + masksLen // most that Append appends
	MaxPad     = 3
	MinPacket  = GRHLen + bthLen + ICRCLen // least that a packet has
)

const nextHeaderUDP = 17

// A Header is all the headers of a packet, decoded. Which fields count depends on the opcode; [Header.Parse] clears the others.
// Numbers wider than their field on the wire are cut.
type Header struct {
	// IPv6 header, as GRH (section 8.3)
	Src, Dst         GID
	TClass, HopLimit uint8
	FlowLabel        uint32 // 20 bits

	// BTH (section 9.2)
	Opcode                    Opcode
	Solicited, MigReq, AckReq bool
	PKey                      uint16
	DestQP, PSN               uint32 // 24 bits

	// DETH of UD (section 9.3)
	QKey  uint32
	SrcQP uint32 // 24 bits

	// RETH (section 9.3); AtomicETH has VA and RKey too
	VA   uint64
	RKey uint32
	Len  uint32 // of the whole message in bytes

	// AtomicETH (section 9.3), and the two masks that follow it in masked atomics
	SwapAdd, Compare         uint64
	SwapAddMask, CompareMask uint64

	// AETH, AtomicAckETH (section 9.3)
	Syndrome uint8
	MSN      uint32 // 24 bits
	Orig     uint64 // value before an atomic operation

	Imm uint32 // ImmDt
	Inv uint32 // IETH: rkey to invalidate
}

// Append appends the headers of a packet whose payload has so many bytes, 0 to 4096. The caller appends exactly these bytes and
// seals the packet with [Seal]. The opcode must be valid, and payload 0 unless [Opcode.HasPayload]. There is no error: a packet made
// otherwise is refused by [Header.Parse].
func (h *Header) Append(b []byte, payload int) []byte {
	be := binary.BigEndian
	info := &opInfos[h.Opcode]
	n := max(int(info.headers), GRHLen+bthLen)
	pad := -payload & MaxPad

	start := len(b)
	b = slices.Grow(b, n)[:start+n]
	p := b[start:]
	be.PutUint32(p[0:], 6<<28|uint32(h.TClass)<<20|h.FlowLabel&(1<<20-1))
	be.PutUint16(p[4:], uint16(UDPLen+n-GRHLen+payload+pad+ICRCLen))
	p[6] = nextHeaderUDP
	p[7] = h.HopLimit
	copy(p[8:24], h.Src[:])
	copy(p[24:40], h.Dst[:])

	p[40] = uint8(h.Opcode)
	p[41] = bit(h.Solicited, 7) | bit(h.MigReq, 6) | uint8(pad)<<4
	be.PutUint16(p[42:], h.PKey)
	be.PutUint32(p[44:], h.DestQP&PSNMask)
	be.PutUint32(p[48:], uint32(bit(h.AckReq, 7))<<24|h.PSN&PSNMask)

	e := p[GRHLen+bthLen:]
	t := info.traits
	if t&tDETH != 0 {
		be.PutUint32(e[0:], h.QKey)
		be.PutUint32(e[4:], h.SrcQP&PSNMask)
		e = e[dethLen:]
	}
	if t&tRETH != 0 {
		be.PutUint64(e[0:], h.VA)
		be.PutUint32(e[8:], h.RKey)
		be.PutUint32(e[12:], h.Len)
		e = e[rethLen:]
	}
	if t&tAtomicETH != 0 {
		be.PutUint64(e[0:], h.VA)
		be.PutUint32(e[8:], h.RKey)
		be.PutUint64(e[12:], h.SwapAdd)
		be.PutUint64(e[20:], h.Compare)
		e = e[atomicETHLen:]
	}
	if t&tMasks != 0 {
		be.PutUint64(e[0:], h.SwapAddMask)
		be.PutUint64(e[8:], h.CompareMask)
		e = e[masksLen:]
	}
	if t&tAETH != 0 {
		be.PutUint32(e[0:], uint32(h.Syndrome)<<24|h.MSN&PSNMask)
		e = e[aethLen:]
	}
	if t&tAtomicAckETH != 0 {
		be.PutUint64(e[0:], h.Orig)
		e = e[atomicAckETHLen:]
	}
	if t&tImm != 0 {
		be.PutUint32(e[0:], h.Imm)
		e = e[immLen:]
	}
	if t&tIETH != 0 {
		be.PutUint32(e[0:], h.Inv)
	}
	return b
}

// bit gives 1<<n if v is true.
func bit(v bool, n uint) uint8 {
	if v {
		return 1 << n
	}
	return 0
}

// Seal completes a packet that begins with what [Header.Append] appended and holds its payload: it appends pad and ICRC.
func Seal(b []byte) []byte {
	var zero [MaxPad]byte
	b = append(b, zero[:b[41]>>4&MaxPad]...)
	return binary.LittleEndian.AppendUint32(b, icrc(b))
}

// Parse decodes and checks a packet and gives its payload, which aliases p. It is the inverse of Append and Seal: it refuses a
// packet that is cut, longer than its IPv6 header says, not of RoCEv2's form, or changed under way, with a *PacketError
// of [ErrShort], [ErrMalformed], [ErrICRC] or [ErrOpcode], and then h holds nothing of use except with the last. What a queue pair
// knows is left to it: P_Key, Q_Key, sequence numbers, and the path MTU.
func (h *Header) Parse(p []byte) (payload []byte, err error) {
	be := binary.BigEndian
	if len(p) < MinPacket {
		return nil, refuse("packet length", uint64(len(p)), MinPacket, ErrShort)
	}
	first := be.Uint32(p)
	if first>>28 != 6 {
		return nil, refuse("IP version", uint64(first>>28), 6, ErrMalformed)
	}
	if p[6] != nextHeaderUDP {
		return nil, refuse("IPv6 next header", uint64(p[6]), nextHeaderUDP, ErrMalformed)
	}
	there, says := len(p)-GRHLen+UDPLen, int(be.Uint16(p[4:]))
	if there < says {
		return nil, refuse("length after the IPv6 header", uint64(there), uint64(says), ErrShort)
	}
	if there > says {
		return nil, refuse("length after the IPv6 header", uint64(there), uint64(says), ErrMalformed)
	}
	if v := p[41] & 0xf; v != 0 {
		return nil, refuse("transport version", uint64(v), 0, ErrMalformed)
	}
	body := p[:len(p)-ICRCLen]
	if got, want := binary.LittleEndian.Uint32(p[len(body):]), icrc(body); got != want {
		return nil, refuse("ICRC", uint64(got), uint64(want), ErrICRC)
	}

	*h = Header{
		TClass: uint8(first >> 20), HopLimit: p[7], FlowLabel: first & (1<<20 - 1),
		Opcode: Opcode(p[40]), Solicited: p[41]&0x80 != 0, MigReq: p[41]&0x40 != 0, AckReq: p[48]&0x80 != 0,
		PKey: be.Uint16(p[42:]), DestQP: be.Uint32(p[44:]) & PSNMask, PSN: be.Uint32(p[48:]) & PSNMask,
	}
	copy(h.Src[:], p[8:24])
	copy(h.Dst[:], p[24:40])

	info := &opInfos[h.Opcode]
	if info.name == "" {
		return nil, refuse("opcode", uint64(h.Opcode), uint64(RCSendFirst), ErrOpcode)
	}
	n, pad := int(info.headers), int(p[41]>>4&MaxPad)
	if len(body) < n {
		return nil, refuse("length of the headers of "+info.name, uint64(len(body)), uint64(n), ErrShort)
	}
	h.parseExtended(info.traits, body[GRHLen+bthLen:n])
	payload = body[n:]
	if len(payload)&MaxPad != 0 {
		return nil, refuse("length of the padded payload modulo 4", uint64(len(payload)&MaxPad), 0, ErrMalformed)
	}
	if pad > len(payload) {
		return nil, refuse("pad count", uint64(pad), 0, ErrMalformed)
	}
	if len(payload) > 0 && info.traits&tData == 0 {
		return nil, refuse("payload length of "+info.name, uint64(len(payload)), 0, ErrMalformed)
	}
	return payload[: len(payload)-pad : len(payload)-pad], nil
}

// parseExtended decodes extended headers; e has exactly their length.
func (h *Header) parseExtended(t trait, e []byte) {
	be := binary.BigEndian
	if t&tDETH != 0 {
		h.QKey, h.SrcQP = be.Uint32(e), be.Uint32(e[4:])&PSNMask
		e = e[dethLen:]
	}
	if t&tRETH != 0 {
		h.VA, h.RKey, h.Len = be.Uint64(e), be.Uint32(e[8:]), be.Uint32(e[12:])
		e = e[rethLen:]
	}
	if t&tAtomicETH != 0 {
		h.VA, h.RKey = be.Uint64(e), be.Uint32(e[8:])
		h.SwapAdd, h.Compare = be.Uint64(e[12:]), be.Uint64(e[20:])
		e = e[atomicETHLen:]
	}
	if t&tMasks != 0 {
		h.SwapAddMask, h.CompareMask = be.Uint64(e), be.Uint64(e[8:])
		e = e[masksLen:]
	}
	if t&tAETH != 0 {
		h.Syndrome, h.MSN = e[0], be.Uint32(e)&PSNMask
		e = e[aethLen:]
	}
	if t&tAtomicAckETH != 0 {
		h.Orig = be.Uint64(e)
		e = e[atomicAckETHLen:]
	}
	if t&tImm != 0 {
		h.Imm = be.Uint32(e)
		e = e[immLen:]
	}
	if t&tIETH != 0 {
		h.Inv = be.Uint32(e)
	}
}
