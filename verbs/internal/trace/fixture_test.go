package trace_test

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"

	"outboard/verbs/internal/ib"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var text = bytes.Repeat([]byte("of no other protocol"), 4)

func opcodes() []ib.Opcode {
	var all []ib.Opcode
	for i := range 256 {
		if op := ib.Opcode(i); op.Valid() {
			all = append(all, op)
		}
	}
	return all
}

// packet makes a packet of an opcode, with a payload of so many bytes if it may have one; n varies its flags and queue pair.
func packet(op ib.Opcode, n, size int) (ib.Header, []byte) {
	h := ib.Header{
		Src: ib.GIDOf("a"), Dst: ib.GIDOf("b"), TClass: 0x60, HopLimit: 64, FlowLabel: 0x12345,
		Opcode: op, Solicited: n&1 != 0, MigReq: n&2 != 0, AckReq: n&4 != 0, PKey: 0xffff, DestQP: 0x100000 + uint32(n), PSN: 0x789abc,
		QKey: 0x11223344, SrcQP: 0x556677, VA: 0x0102030405060708, RKey: 0x090a0b0c, Len: 0x0d0e0f10,
		SwapAdd: 0x2021222324252627, Compare: 0x28292a2b2c2d2e2f, SwapAddMask: 0x3031323334353637, CompareMask: 0x38393a3b3c3d3e3f,
		Syndrome: ib.NAKSyndrome(ib.NAKAccess), MSN: 0x4a4b4c, Orig: 0x5051525354555657, Imm: 0x61626364, Inv: 0x71727374,
	}
	var payload []byte
	if op.HasPayload() {
		payload = text[:size]
	}
	return h, ib.Seal(append(h.Append(nil, len(payload)), payload...))
}

// datagram makes the packet of a message of the communication manager.
func datagram(tid uint64, m ib.CMMessage) (ib.Header, []byte) {
	h := ib.Header{Src: ib.GIDOf("a"), Dst: ib.GIDOf("b"), HopLimit: 64, Opcode: ib.UDSendOnly, PKey: 0xffff, DestQP: ib.QP1,
		PSN: uint32(tid), QKey: ib.GSIQKey, SrcQP: ib.QP1}
	return h, ib.Seal(ib.NewCM(tid, m).Append(h.Append(nil, ib.MADLen)))
}
