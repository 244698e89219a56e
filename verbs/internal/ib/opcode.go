package ib

import "fmt"

// An Opcode is the first byte of the BTH: transport and operation (section 9.2.1).
type Opcode uint8

// The opcodes of reliable connections.
const (
	RCSendFirst      Opcode = 0x00
	RCSendMiddle     Opcode = 0x01
	RCSendLast       Opcode = 0x02
	RCSendLastImm    Opcode = 0x03
	RCSendOnly       Opcode = 0x04
	RCSendOnlyImm    Opcode = 0x05
	RCWriteFirst     Opcode = 0x06
	RCWriteMiddle    Opcode = 0x07
	RCWriteLast      Opcode = 0x08
	RCWriteLastImm   Opcode = 0x09
	RCWriteOnly      Opcode = 0x0A
	RCWriteOnlyImm   Opcode = 0x0B
	RCReadRequest    Opcode = 0x0C
	RCReadRespFirst  Opcode = 0x0D
	RCReadRespMiddle Opcode = 0x0E
	RCReadRespLast   Opcode = 0x0F
	RCReadRespOnly   Opcode = 0x10
	RCAck            Opcode = 0x11
	RCAtomicAck      Opcode = 0x12
	RCCmpSwap        Opcode = 0x13
	RCFetchAdd       Opcode = 0x14
	RCSendLastInv    Opcode = 0x16
	RCSendOnlyInv    Opcode = 0x17
)

// The opcodes of unreliable connections.
const (
	UCSendFirst    Opcode = 0x20
	UCSendMiddle   Opcode = 0x21
	UCSendLast     Opcode = 0x22
	UCSendLastImm  Opcode = 0x23
	UCSendOnly     Opcode = 0x24
	UCSendOnlyImm  Opcode = 0x25
	UCWriteFirst   Opcode = 0x26
	UCWriteMiddle  Opcode = 0x27
	UCWriteLast    Opcode = 0x28
	UCWriteLastImm Opcode = 0x29
	UCWriteOnly    Opcode = 0x2A
	UCWriteOnlyImm Opcode = 0x2B
)

// The opcodes of unreliable datagrams.
const (
	UDSendOnly    Opcode = 0x64
	UDSendOnlyImm Opcode = 0x65
)

// Opcodes that the standard leaves to manufacturers, for the masked atomics of reliable connections, whose packets it does not
// define: the AtomicETH is followed by two masks of 64 bits, first that of the swapped or added data, then that of
// the compared data. They are answered by RCAtomicAck.
const (
	RCMaskedCmpSwap  Opcode = 0xC0
	RCMaskedFetchAdd Opcode = 0xC1
)

// A Transport is the service of a queue pair, with the numbers that the upper three bits of an opcode have.
type Transport uint8

// The transports that have opcodes here.
const (
	RC Transport = 0
	UC Transport = 1
	UD Transport = 3
)

func (t Transport) String() string {
	switch t {
	case RC:
		return "RC"
	case UC:
		return "UC"
	case UD:
		return "UD"
	}
	return fmt.Sprintf("transport %d", uint8(t))
}

// trait is a set of properties of an opcode.
type trait uint32

const (
	tFirst trait = 1 << iota
	tMiddle
	tLast
	tOnly
	tSend
	tWrite
	tRead
	tAtomic
	tResponse
	tData // may have a payload
	// Extended headers, in the order in which they follow the BTH.
	tDETH
	tRETH
	tAtomicETH
	tMasks
	tAETH
	tAtomicAckETH
	tImm
	tIETH
)

// Lengths of headers in bytes.
const (
	bthLen          = 12
	dethLen         = 8
	rethLen         = 16
	atomicETHLen    = 28
	masksLen        = 16
	aethLen         = 4
	atomicAckETHLen = 8
	immLen          = 4
	iethLen         = 4
)

type opInfo struct {
	name      string // empty: a reserved opcode
	traits    trait
	transport Transport
	headers   uint8 // length of IPv6 header, BTH and extended headers
}

var opInfos = makeOpInfos()

func makeOpInfos() (t [256]opInfo) {
	set := func(op Opcode, tr Transport, name string, traits trait) {
		n := GRHLen + bthLen
		for _, h := range []struct {
			trait trait
			len   int
		}{
			{tDETH, dethLen}, {tRETH, rethLen}, {tAtomicETH, atomicETHLen}, {tMasks, masksLen}, {tAETH, aethLen},
			{tAtomicAckETH, atomicAckETHLen}, {tImm, immLen}, {tIETH, iethLen},
		} {
			if traits&h.trait != 0 {
				n += h.len
			}
		}
		t[op] = opInfo{tr.String() + "_" + name, traits, tr, uint8(n)}
	}
	for tr, base := range map[Transport]Opcode{RC: RCSendFirst, UC: UCSendFirst} {
		const send, write = tSend | tData, tWrite | tData
		set(base+0x00, tr, "SEND_FIRST", send|tFirst)
		set(base+0x01, tr, "SEND_MIDDLE", send|tMiddle)
		set(base+0x02, tr, "SEND_LAST", send|tLast)
		set(base+0x03, tr, "SEND_LAST_WITH_IMMEDIATE", send|tLast|tImm)
		set(base+0x04, tr, "SEND_ONLY", send|tOnly)
		set(base+0x05, tr, "SEND_ONLY_WITH_IMMEDIATE", send|tOnly|tImm)
		set(base+0x06, tr, "RDMA_WRITE_FIRST", write|tFirst|tRETH)
		set(base+0x07, tr, "RDMA_WRITE_MIDDLE", write|tMiddle)
		set(base+0x08, tr, "RDMA_WRITE_LAST", write|tLast)
		set(base+0x09, tr, "RDMA_WRITE_LAST_WITH_IMMEDIATE", write|tLast|tImm)
		set(base+0x0A, tr, "RDMA_WRITE_ONLY", write|tOnly|tRETH)
		set(base+0x0B, tr, "RDMA_WRITE_ONLY_WITH_IMMEDIATE", write|tOnly|tRETH|tImm)
	}
	const resp = tRead | tResponse | tData
	set(RCReadRequest, RC, "RDMA_READ_REQUEST", tRead|tOnly|tRETH)
	set(RCReadRespFirst, RC, "RDMA_READ_RESPONSE_FIRST", resp|tFirst|tAETH)
	set(RCReadRespMiddle, RC, "RDMA_READ_RESPONSE_MIDDLE", resp|tMiddle)
	set(RCReadRespLast, RC, "RDMA_READ_RESPONSE_LAST", resp|tLast|tAETH)
	set(RCReadRespOnly, RC, "RDMA_READ_RESPONSE_ONLY", resp|tOnly|tAETH)
	set(RCAck, RC, "ACKNOWLEDGE", tResponse|tOnly|tAETH)
	set(RCAtomicAck, RC, "ATOMIC_ACKNOWLEDGE", tAtomic|tResponse|tOnly|tAETH|tAtomicAckETH)
	set(RCCmpSwap, RC, "COMPARE_SWAP", tAtomic|tOnly|tAtomicETH)
	set(RCFetchAdd, RC, "FETCH_ADD", tAtomic|tOnly|tAtomicETH)
	set(RCSendLastInv, RC, "SEND_LAST_WITH_INVALIDATE", tSend|tData|tLast|tIETH)
	set(RCSendOnlyInv, RC, "SEND_ONLY_WITH_INVALIDATE", tSend|tData|tOnly|tIETH)
	set(UDSendOnly, UD, "SEND_ONLY", tSend|tData|tOnly|tDETH)
	set(UDSendOnlyImm, UD, "SEND_ONLY_WITH_IMMEDIATE", tSend|tData|tOnly|tDETH|tImm)
	set(RCMaskedCmpSwap, RC, "MASKED_COMPARE_SWAP", tAtomic|tOnly|tAtomicETH|tMasks)
	set(RCMaskedFetchAdd, RC, "MASKED_FETCH_ADD", tAtomic|tOnly|tAtomicETH|tMasks)
	return t
}

func (o Opcode) has(t trait) bool { return opInfos[o].traits&t != 0 }

// String gives the name that the standard and libibverbs have for the opcode: "RC_SEND_FIRST".
func (o Opcode) String() string {
	if n := opInfos[o].name; n != "" {
		return n
	}
	return fmt.Sprintf("opcode %#02x", uint8(o))
}

// Valid reports whether the opcode is one of the constants. All other methods but String are for valid ones.
func (o Opcode) Valid() bool { return opInfos[o].name != "" }

// Transport gives the service that the opcode belongs to; RC for the masked atomics.
func (o Opcode) Transport() Transport { return opInfos[o].transport }

// IsFirst reports whether the packet is the first of several of a message or read response.
func (o Opcode) IsFirst() bool { return o.has(tFirst) }

// IsMiddle reports whether others of the message or read response come before the packet and after it.
func (o Opcode) IsMiddle() bool { return o.has(tMiddle) }

// IsLast reports whether the packet is the last of several.
func (o Opcode) IsLast() bool { return o.has(tLast) }

// IsOnly reports whether the packet is a whole message: also true of read requests, atomics and acknowledgements.
func (o Opcode) IsOnly() bool { return o.has(tOnly) }

// Starts reports whether the packet is the first of its message, or the only one.
func (o Opcode) Starts() bool { return o.has(tFirst | tOnly) }

// Ends reports whether the packet is the last of its message, or the only one.
func (o Opcode) Ends() bool { return o.has(tLast | tOnly) }

// IsRequest reports whether a requester sends the packet to a responder.
func (o Opcode) IsRequest() bool { return o.Valid() && !o.has(tResponse) }

// IsResponse reports whether a responder sends the packet to a requester: acknowledgements and read responses.
func (o Opcode) IsResponse() bool { return o.has(tResponse) }

// IsSend reports whether the packet is of a SEND.
func (o Opcode) IsSend() bool { return o.has(tSend) }

// IsWrite reports whether the packet is of an RDMA WRITE.
func (o Opcode) IsWrite() bool { return o.has(tWrite) }

// IsReadResponse reports whether the packet brings data of an RDMA READ.
func (o Opcode) IsReadResponse() bool { return opInfos[o].traits&(tRead|tResponse) == tRead|tResponse }

// IsAtomic reports whether the packet requests an atomic operation, masked or not.
func (o Opcode) IsAtomic() bool { return o.has(tAtomicETH) }

// IsMasked reports whether the packet requests a masked atomic operation.
func (o Opcode) IsMasked() bool { return o.has(tMasks) }

// HasImm reports whether the packet has immediate data.
func (o Opcode) HasImm() bool { return o.has(tImm) }

// HasInv reports whether the packet has an rkey to invalidate.
func (o Opcode) HasInv() bool { return o.has(tIETH) }

// HasRETH reports whether the packet has an address, a key and a length of the message.
func (o Opcode) HasRETH() bool { return o.has(tRETH) }

// HasAETH reports whether the packet has a syndrome and a message sequence number.
func (o Opcode) HasAETH() bool { return o.has(tAETH) }

// HasPayload reports whether the packet may have a payload.
func (o Opcode) HasPayload() bool { return o.has(tData) }

// HeaderLen gives the length in bytes of all headers from the IPv6 header on.
func (o Opcode) HeaderLen() int { return int(opInfos[o].headers) }

// part gives the distance from an opcode FIRST to the one at another place in the message.
func part(first, last bool) Opcode {
	switch {
	case first && last:
		return RCSendOnly
	case first:
		return RCSendFirst
	case last:
		return RCSendLast
	}
	return RCSendMiddle
}

func after(t Transport, imm, ends bool) Opcode {
	o := Opcode(t) << 5
	if imm && ends {
		o++
	}
	return o
}

// SendOpcode gives the opcode of a packet of a SEND: first and last tell its place in the message, and imm that the message
// has immediate data, which its last packet carries. With UD, first and last are both true.
func SendOpcode(t Transport, first, last, imm bool) Opcode {
	return after(t, imm, last) + part(first, last)
}

// SendInvOpcode gives the opcode of a packet of a SEND with invalidate over RC.
func SendInvOpcode(first, last bool) Opcode {
	switch {
	case first && last:
		return RCSendOnlyInv
	case last:
		return RCSendLastInv
	}
	return part(first, last)
}

// WriteOpcode gives the opcode of a packet of an RDMA WRITE over RC or UC, as [SendOpcode] does.
func WriteOpcode(t Transport, first, last, imm bool) Opcode {
	return after(t, imm, last) + RCWriteFirst + part(first, last)
}

// ReadRespOpcode gives the opcode of a packet of a read response.
func ReadRespOpcode(first, last bool) Opcode {
	switch {
	case first && last:
		return RCReadRespOnly
	case first:
		return RCReadRespFirst
	case last:
		return RCReadRespLast
	}
	return RCReadRespMiddle
}
