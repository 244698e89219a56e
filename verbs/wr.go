package verbs

import "unsafe"

// Opcode of a send work request.
type Opcode uint8

// The operations of a reliable connection (IBTA 10.8.2).
const (
	Send Opcode = iota
	SendImm
	Write
	WriteImm
	Read
	FetchAdd
	CompareSwap
	numOpcodes
)

var opcodeText = [...]string{"SEND", "SEND_WITH_IMM", "RDMA_WRITE", "RDMA_WRITE_WITH_IMM", "RDMA_READ", "FETCH_AND_ADD", "CMP_AND_SWP"}

func (o Opcode) String() string {
	if int(o) < len(opcodeText) {
		return opcodeText[o]
	}
	return "invalid opcode"
}

// SendFlags modify a send work request.
type SendFlags uint8

const (
	// Signaled asks for a completion also on success. Without it only a
	// failure completes, and the entry is freed when a later signaled
	// request of the queue completes.
	Signaled SendFlags = 1 << iota
	// Inline copies the data while posting: the buffers are free on return and need no lkey.
	Inline
	// Solicited asks the responder to raise a solicited event with the receive.
	Solicited
	// Fence starts the request only after all earlier reads and atomics of the queue are done.
	Fence
)

// Access rights of a memory region or a queue pair.
type Access uint32

const (
	LocalWrite Access = 1 << iota
	RemoteWrite
	RemoteRead
	RemoteAtomic
	accessAll = LocalWrite | RemoteWrite | RemoteRead | RemoteAtomic
)

// An SGE is one piece of a scatter/gather list: memory of a region of this
// context. From posting to completion it belongs to the NIC: a send buffer
// must not change, a receive buffer must not be touched.
type SGE struct {
	Buf  []byte
	LKey uint32
}

// A SendWR is a request for the send queue. It is copied while posting, the
// list SG included; the memory that SG names is not, unless Inline.
type SendWR struct {
	ID     uint64 // comes back in the completion
	Opcode Opcode
	Flags  SendFlags
	SG     []SGE
	Imm    uint32 // SendImm, WriteImm

	RemoteAddr uint64 // Write, WriteImm, Read, FetchAdd, CompareSwap
	RKey       uint32

	// FetchAdd adds Add. CompareSwap stores Swap if the value is Compare. Both return the value
	// before, in host byte order, in the 8 bytes that SG names.
	Add           uint64
	Compare, Swap uint64
}

// A RecvWR is a request for the receive queue.
type RecvWR struct {
	ID uint64
	SG []SGE
}

// WCOpcode says what kind of work completed.
type WCOpcode uint8

const (
	WCSend WCOpcode = iota
	WCWrite
	WCRead
	WCFetchAdd
	WCCompareSwap
	WCRecv
	WCRecvWriteImm
)

var wcOpcodes = [numOpcodes]WCOpcode{Send: WCSend, SendImm: WCSend, Write: WCWrite, WriteImm: WCWrite, Read: WCRead, FetchAdd: WCFetchAdd, CompareSwap: WCCompareSwap}

// A WC is a work completion (ibv_wc). If Status is not Success only ID, Status, QPN
// and Detail mean anything.
type WC struct {
	ID     uint64
	Status Status
	Opcode WCOpcode
	QPN    uint32
	SrcQP  uint32
	Bytes  int // of a receive, read or atomic
	Imm    uint32
	HasImm bool
	// Detail says in words what was wrong, where the NIC knows more than the status.
	Detail string
}

// Bytes views a slice of plain numbers or pointer-free structs as its memory,
// to register or to post it. The two share storage.
func Bytes[T any](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(s[0])))
}

// AddrOf is the address that a peer names to reach the first byte of b. The region that covers b
// keeps it in place while registered.
func AddrOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
