package verbs

import "unsafe"

// SendFlags modify a send work request.
type SendFlags uint8

const (
	// Signaled asks for a completion also on success. Without it only a
	// failure completes, and the entry is free when the completion of a later
	// signaled request of the queue has been taken.
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
