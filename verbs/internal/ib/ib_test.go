package ib

import (
	"testing"

	"pgregory.net/rapid"
)

func TestOpcodes(t *testing.T) {
	for i := range 256 {
		op := Opcode(i)
		l, ok := layouts[op]
		if op.Valid() != ok {
			t.Errorf("%v: valid %v, want %v", op, op.Valid(), ok)
		}
		if ok && op.String() != l.name {
			t.Errorf("opcode %#x is called %v, want %s", i, op, l.name)
		}
		if n := op.HeaderLen(); n > MaxHeaders {
			t.Errorf("%v: headers of %d bytes, more than %d", op, n, MaxHeaders)
		}
		if op.HasPayload() != l.data {
			t.Errorf("%v: payload %v, want %v", op, op.HasPayload(), l.data)
		}
		if op.IsRequest() == op.IsResponse() && ok {
			t.Errorf("%v: request %v, response %v", op, op.IsRequest(), op.IsResponse())
		}
		places := flag(op.IsFirst()) + flag(op.IsMiddle()) + flag(op.IsLast()) + flag(op.IsOnly())
		if places != flag(ok) {
			t.Errorf("%v: %d places in its message, want %d", op, places, flag(ok))
		}
	}
	for _, tt := range []struct {
		op   Opcode
		want string
	}{
		{0x15, "opcode 0x15"}, {0xff, "opcode 0xff"}, {0x1, "RC_SEND_MIDDLE"},
	} {
		if got := tt.op.String(); got != tt.want {
			t.Errorf("opcode %d is called %q, want %q", uint8(tt.op), got, tt.want)
		}
	}
}

func TestTraits(t *testing.T) {
	const yes, no = true, false
	for _, tt := range []struct {
		op                                                                                 Opcode
		transport                                                                          Transport
		starts, ends, request, send, write, readResp, atomic, masked, imm, inv, reth, aeth bool
	}{
		{RCSendFirst, RC, yes, no, yes, yes, no, no, no, no, no, no, no, no},
		{RCSendOnlyInv, RC, yes, yes, yes, yes, no, no, no, no, no, yes, no, no},
		{RCWriteLastImm, RC, no, yes, yes, no, yes, no, no, no, yes, no, no, no},
		{RCWriteOnlyImm, RC, yes, yes, yes, no, yes, no, no, no, yes, no, yes, no},
		{RCReadRequest, RC, yes, yes, yes, no, no, no, no, no, no, no, yes, no},
		{RCReadRespMiddle, RC, no, no, no, no, no, yes, no, no, no, no, no, no},
		{RCReadRespOnly, RC, yes, yes, no, no, no, yes, no, no, no, no, no, yes},
		{RCAck, RC, yes, yes, no, no, no, no, no, no, no, no, no, yes},
		{RCAtomicAck, RC, yes, yes, no, no, no, no, no, no, no, no, no, yes},
		{RCFetchAdd, RC, yes, yes, yes, no, no, no, yes, no, no, no, no, no},
		{RCMaskedCmpSwap, RC, yes, yes, yes, no, no, no, yes, yes, no, no, no, no},
		{UCWriteFirst, UC, yes, no, yes, no, yes, no, no, no, no, no, yes, no},
		{UDSendOnlyImm, UD, yes, yes, yes, yes, no, no, no, no, yes, no, no, no},
	} {
		got := [...]bool{tt.op.Starts(), tt.op.Ends(), tt.op.IsRequest(), tt.op.IsSend(), tt.op.IsWrite(), tt.op.IsReadResponse(),
			tt.op.IsAtomic(), tt.op.IsMasked(), tt.op.HasImm(), tt.op.HasInv(), tt.op.HasRETH(), tt.op.HasAETH()}
		want := [...]bool{tt.starts, tt.ends, tt.request, tt.send, tt.write, tt.readResp, tt.atomic, tt.masked, tt.imm, tt.inv, tt.reth, tt.aeth}
		if got != want || tt.op.Transport() != tt.transport {
			t.Errorf("%v: %v %v, want %v %v", tt.op, tt.op.Transport(), got, tt.transport, want)
		}
	}
}

// TestChosenOpcode holds the functions that choose an opcode to the properties of what they choose.
func TestChosenOpcode(t *testing.T) {
	bools := []bool{false, true}
	for _, first := range bools {
		for _, last := range bools {
			fits := func(op Opcode, tr Transport, kind func(Opcode) bool, imm, inv bool) {
				t.Helper()
				if op.Transport() != tr || !kind(op) || op.Starts() != first || op.Ends() != last || op.HasImm() != imm || op.HasInv() != inv {
					t.Errorf("first %v last %v imm %v inv %v: %v", first, last, imm, inv, op)
				}
			}
			for _, tr := range []Transport{RC, UC} {
				for _, imm := range bools {
					fits(SendOpcode(tr, first, last, imm), tr, Opcode.IsSend, imm && last, false)
					fits(WriteOpcode(tr, first, last, imm), tr, Opcode.IsWrite, imm && last, false)
				}
			}
			fits(SendInvOpcode(first, last), RC, Opcode.IsSend, false, last)
			fits(ReadRespOpcode(first, last), RC, Opcode.IsReadResponse, false, false)
		}
	}
	if got := SendOpcode(UD, true, true, true); got != UDSendOnlyImm {
		t.Errorf("datagram with immediate: %v", got)
	}
}

func TestPSN(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b uint32
		want int32
	}{
		{"same", 5, 5, 0},
		{"next", 6, 5, 1},
		{"around the end", 0, PSNMask, 1},
		{"before, around the end", PSNMask, 0, -1},
		{"farthest after", 1<<23 - 1, 0, 1<<23 - 1},
		{"half way is before", 1 << 23, 0, -1 << 23},
	} {
		if got := PSNDiff(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: PSNDiff(%#x, %#x) = %d, want %d", tt.name, tt.a, tt.b, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		psn := rapid.Uint32Max(PSNMask).Draw(t, "psn")
		n := rapid.Int32Range(-1<<23, 1<<23-1).Draw(t, "n")
		to := PSNAdd(psn, n)
		if to > PSNMask || PSNDiff(to, psn) != n || PSNAdd(to, -n) != psn {
			t.Fatalf("%#x + %d = %#x, %d apart", psn, n, to, PSNDiff(to, psn))
		}
	})
}

func TestSyndrome(t *testing.T) {
	for _, tt := range []struct {
		name  string
		s     uint8
		want  uint8
		kind  SyndromeKind
		value uint8
	}{
		{"ACK without credits", AckSyndrome(NoCredits), 0x1f, SyndromeACK, 31},
		{"ACK with credits", AckSyndrome(3), 0x03, SyndromeACK, 3},
		{"RNR", RNRSyndrome(14), 0x2e, SyndromeRNR, 14},
		{"RNR, timer too wide", RNRSyndrome(0xff), 0x3f, SyndromeRNR, 31},
		{"NAK sequence", NAKSyndrome(NAKSequence), 0x60, SyndromeNAK, 0},
		{"NAK operational", NAKSyndrome(NAKOperational), 0x63, SyndromeNAK, 3},
	} {
		kind, value := DecodeSyndrome(tt.s)
		if tt.s != tt.want || kind != tt.kind || value != tt.value {
			t.Errorf("%s: %#x is (%d, %d), want %#x (%d, %d)", tt.name, tt.s, kind, value, tt.want, tt.kind, tt.value)
		}
	}
	for s := range 256 { // no reserved one is taken for a good one
		kind, _ := DecodeSyndrome(uint8(s))
		known := kind == SyndromeACK || kind == SyndromeRNR || kind == SyndromeNAK
		if want := s < 0x40 || s >= 0x60 && s < 0x80; known != want {
			t.Errorf("syndrome %#x: known %v, want %v", s, known, want)
		}
	}
	if NAKAccess.String() != "remote access error" || NAKCode(9).String() != "NAK code 9" {
		t.Errorf("NAK codes are called %v, %v", NAKAccess, NAKCode(9))
	}
}

func TestAddresses(t *testing.T) {
	g := GIDOf("inproc:1")
	if g[0] != 0xfd || g == GIDOf("inproc:2") || g != GIDOf("inproc:1") {
		t.Errorf("GIDs %v, %v: not unique local, or not of the address alone", g, GIDOf("inproc:2"))
	}
	l, guid := LinkLocal("inproc:1"), GUIDOf("inproc:1")
	if want := (GID{0xfe, 0x80}); [8]byte(l[:8]) != [8]byte(want[:8]) || [8]byte(l[8:]) != guid {
		t.Errorf("link-local %v of GUID %x", l, guid)
	}
	if guid[3] != 0xff || guid[4] != 0xfe || guid[0]&3 != 0 {
		t.Errorf("GUID %x is not the EUI-64 form of a local address", guid)
	}
	mac := g.HardwareAddr()
	if mac != l.HardwareAddr() || mac[0]&3 != 2 {
		t.Errorf("hardware addresses %x, %x: want the same, locally administered", mac, l.HardwareAddr())
	}
	if got, want := (GID{0xff, 0x0e, 12: 1, 13: 2, 14: 3, 15: 4}).HardwareAddr(), [6]byte{0x33, 0x33, 1, 2, 3, 4}; got != want {
		t.Errorf("multicast hardware address %x, want %x", got, want)
	}
	if got, want := (GID{0xfd, 0x12, 0x34, 14: 0xab}).String(), "fd12:3400:0000:0000:0000:0000:0000:ab00"; got != want {
		t.Errorf("GID prints as %s, want %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		if lid := LIDOf(rapid.String().Draw(t, "address")); lid == 0 || lid > 0xbfff {
			t.Fatalf("LID %#x is not a unicast one", lid)
		}
	})
}
