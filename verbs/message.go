package verbs

// What a packet between queue pairs is: fabric.Header.Op.
const (
	msgSend       = iota + 1 // payload of a SEND
	msgWrite                 // payload of an RDMA WRITE; the first packet begins with the total length
	msgWriteImm              // end of an RDMA WRITE with immediate whose data is in place; payload: length
	msgReadReq               // payload: length
	msgReadResp              // payload: a piece of the memory that was asked for
	msgAtomicReq             // Aux: opcode; payload: operands, see atomicArgs
	msgAtomicResp            // payload: value before
	msgNAK                   // Aux: status; the responder refused a request and is in ERR
	msgFault                 // Aux: status; the requester's direct access was refused and it is in ERR
	msgPacket                // payload: an IBTA packet, as package ib writes it
	msgHello                 // payload: address of the port that sends on a lane
)

// Flags of packets; fabric.AckNow is the eighth bit.
const (
	flagFirst = 1 << iota
	flagLast
	flagImm
	flagSolicited
	flagInv // Imm is a key to invalidate
)
