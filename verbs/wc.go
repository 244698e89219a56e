package verbs

import "fmt"

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

// A WC is a work completion (ibv_wc). If Status is not Success only ID, Status, Opcode, QPN
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
