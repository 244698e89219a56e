package verbs

// Opcodes of packets between queue pairs.
const (
	opSend       = iota + 1 // payload of a SEND
	opWrite                 // payload of an RDMA WRITE; the first packet begins with the total length
	opWriteImm              // end of an RDMA WRITE with immediate whose data is in place; payload: length
	opReadReq               // payload: length
	opReadResp              // payload: a piece of the memory that was asked for
	opAtomicReq             // Aux: opcode; payload: operands, see atomicArgs
	opAtomicResp            // payload: value before
	opNAK                   // Aux: status; the responder refused a request and is in ERR
	opFault                 // Aux: status; the requester's direct access was refused and it is in ERR
	opPacket                // payload: an IBTA packet, as package ib writes it
	opHello                 // payload: address of the port that sends on a lane
)

// Flags of packets; fabric.AckNow is the eighth bit.
const (
	flagFirst = 1 << iota
	flagLast
	flagImm
	flagSolicited
	flagInv // Imm is a key to invalidate
)
