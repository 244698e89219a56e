package verbs

// Opcodes of packets between queue pairs.
const (
	opSend       = iota + 1 // payload of a SEND
	opWrite                 // payload of an RDMA WRITE; the first packet begins with the total length
	opWriteImm              // end of an RDMA WRITE with immediate whose data is in place; payload: length
	opReadReq               // payload: length
	opReadResp              // payload: a piece of the memory that was asked for
	opAtomicReq             // Aux: opcode; payload: two operands
	opAtomicResp            // payload: value before
	opNAK                   // Aux: status; the responder refused a request and is in ERR
	opFault                 // Aux: status; the requester's direct access was refused and it is in ERR
)

// Flags of packets; fabric.AckNow is the eighth bit.
const (
	flagFirst = 1 << iota
	flagLast
	flagImm
	flagSolicited
)
