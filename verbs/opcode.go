package verbs

import "fmt"

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
