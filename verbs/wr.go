package verbs

import (
	"fmt"
	"unsafe"
)

// Opcode of a send work request.
type Opcode uint8

// The operations of a send queue (IBTA 10.8.2; ibv_wr_opcode). UC has the SENDs and WRITEs, UD the SENDs without
// invalidation; the local operations are for every kind of queue pair.
const (
	Send Opcode = iota
	SendImm
	Write
	WriteImm
	Read
	FetchAdd
	CompareSwap
	SendInv           // SEND that invalidates a remote key of the peer
	MaskedFetchAdd    // FetchAdd on fields of the word
	MaskedCompareSwap // CompareSwap of some of the bits, storing others
	LocalInv          // invalidates a memory window of type 2 of this side
	BindMW            // binds a memory window of type 2
	WaitCounter       // holds the queue until a counter reaches a threshold
	SendEnable        // lets a managed send queue go on
	numOpcodes
)

// opTraits say what an operation is made of.
type opTraits uint16

const (
	opTakesReceive opTraits = 1 << iota // consumes a receive of the peer
	opCarries                           // moves data from here to the peer
	opRemote                            // names memory of the peer
	opReplies                           // waits for data from the peer, which is written here
	opAtomic                            // acts on 8 bytes of the peer
	opMasked
	opImm   // carries an immediate
	opLocal // does not concern the peer
	opUC    // exists on UC
	opUD    // exists on UD
)

var opcodes = [numOpcodes]struct {
	name   string
	wc     WCOpcode
	traits opTraits
}{
	Send:              {"SEND", WCSend, opTakesReceive | opCarries | opUC | opUD},
	SendImm:           {"SEND_WITH_IMM", WCSend, opTakesReceive | opCarries | opImm | opUC | opUD},
	SendInv:           {"SEND_WITH_INV", WCSend, opTakesReceive | opCarries},
	Write:             {"RDMA_WRITE", WCWrite, opCarries | opRemote | opUC},
	WriteImm:          {"RDMA_WRITE_WITH_IMM", WCWrite, opTakesReceive | opCarries | opRemote | opImm | opUC},
	Read:              {"RDMA_READ", WCRead, opRemote | opReplies},
	FetchAdd:          {"FETCH_AND_ADD", WCFetchAdd, opRemote | opReplies | opAtomic},
	CompareSwap:       {"CMP_AND_SWP", WCCompareSwap, opRemote | opReplies | opAtomic},
	MaskedFetchAdd:    {"MASKED_FETCH_AND_ADD", WCMaskedFetchAdd, opRemote | opReplies | opAtomic | opMasked},
	MaskedCompareSwap: {"MASKED_CMP_AND_SWP", WCMaskedCompareSwap, opRemote | opReplies | opAtomic | opMasked},
	LocalInv:          {"LOCAL_INV", WCLocalInv, opLocal | opUC | opUD},
	BindMW:            {"BIND_MW", WCBindMW, opLocal | opUC | opUD},
	WaitCounter:       {"WAIT", WCWait, opLocal | opUC | opUD},
	SendEnable:        {"SEND_ENABLE", WCSendEnable, opLocal | opUC | opUD},
}

// has tells whether the operation has one of the traits.
func (o Opcode) has(t opTraits) bool { return opcodes[o].traits&t != 0 }

func (o Opcode) String() string {
	if o < numOpcodes {
		return opcodes[o].name
	}
	return fmt.Sprintf("invalid opcode %d", uint8(o))
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

// Access rights of a memory region, a memory window or a queue pair.
type Access uint32

const (
	LocalWrite Access = 1 << iota
	RemoteWrite
	RemoteRead
	RemoteAtomic
	// MWBindAccess lets memory windows be bound to a region.
	MWBindAccess
	// ZeroBased makes the remote address of a region's or window's first byte 0.
	ZeroBased
	// RelaxedOrdering permits, and does not oblige, the NIC to write the region out of order.
	RelaxedOrdering

	remoteRights = RemoteWrite | RemoteRead | RemoteAtomic
	qpRights     = LocalWrite | remoteRights // what a queue pair may be given
	mrRights     = qpRights | MWBindAccess | ZeroBased | RelaxedOrdering
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
	InvKey uint32 // SendInv: the peer's key to invalidate; LocalInv: the key of this side

	RemoteAddr uint64 // of operations on the peer's memory
	RKey       uint32

	// FetchAdd adds Add. CompareSwap stores Swap if the value is Compare. Both return the value
	// before, in host byte order, in the 8 bytes that SG names.
	Add           uint64
	Compare, Swap uint64
	// Mask is for the masked atomics.
	Mask *AtomicMask

	UD     *UDDest  // for UD: where to
	Bind   *MWBind  // BindMW
	Wait   *WaitFor // WaitCounter
	Enable *Enable  // SendEnable
}

// An AtomicMask says which bits a masked atomic acts on. MaskedCompareSwap compares the bits of Compare and, where they
// are equal, stores the bits of Swap. MaskedFetchAdd adds fields: no carry leaves a bit that is set in
// Add, which is the highest of its field; the whole word is one field if Add is 0.
type AtomicMask struct{ Compare, Swap, Add uint64 }

// UDDest is where a datagram goes.
type UDDest struct {
	AH   *AH
	QPN  uint32
	QKey uint32 // with its highest bit set the queue pair's own Q_Key is used (IBTA 10.2.5)
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
	WCMaskedFetchAdd
	WCMaskedCompareSwap
	WCLocalInv
	WCBindMW
	WCWait
	WCSendEnable
	WCTMAdd
	WCTMDel
	WCTMSync
	WCTMRecv
	WCTMNoTag
	numWCOpcodes
)

var wcOpcodeText = [numWCOpcodes]string{"SEND", "RDMA_WRITE", "RDMA_READ", "FETCH_ADD", "COMP_SWAP", "RECV", "RECV_RDMA_WITH_IMM",
	"MASKED_FETCH_ADD", "MASKED_COMP_SWAP", "LOCAL_INV", "BIND_MW", "WAIT", "SEND_ENABLE", "TM_ADD", "TM_DEL", "TM_SYNC", "TM_RECV", "TM_NO_TAG"}

func (o WCOpcode) String() string {
	if o < numWCOpcodes {
		return wcOpcodeText[o]
	}
	return fmt.Sprintf("invalid completion opcode %d", uint8(o))
}

// WCFlags say what more a completion tells (ibv_wc_flags).
type WCFlags uint8

const (
	WithGRH     WCFlags = 1 << iota // of UD: the first 40 bytes of the buffers are the global routing header
	WithInv                         // InvKey was invalidated
	TMSyncReq                       // the tag list waits for a TAG_SYNC
	TMMatch                         // a receive of the tag list was matched
	TMDataValid                     // and its data is in place
)

// A WC is a work completion (ibv_wc). If Status is not Success only ID, Status, QPN
// and Detail mean anything.
type WC struct {
	ID     uint64
	Status Status
	Opcode WCOpcode
	Flags  WCFlags
	HasImm bool
	QPN    uint32
	SrcQP  uint32
	Bytes  int // of a receive, read or atomic
	Imm    uint32
	InvKey uint32 // WithInv
	TM     TMInfo // of a tag-matching receive: the message's header
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
