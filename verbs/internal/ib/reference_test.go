package ib

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
)

// field is a field of a packet as the standard draws it: where it begins, in bits from the start of its header, and how wide it is.
type field struct {
	at, width int
	get       func(h *Header) uint64
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// The headers of the standard, written down a second time and in another way.
var (
	bthFields = []field{
		{0, 8, func(h *Header) uint64 { return uint64(h.Opcode) }},
		{8, 1, func(h *Header) uint64 { return flag(h.Solicited) }},
		{9, 1, func(h *Header) uint64 { return flag(h.MigReq) }},
		{16, 16, func(h *Header) uint64 { return uint64(h.PKey) }},
		{40, 24, func(h *Header) uint64 { return uint64(h.DestQP) }},
		{64, 1, func(h *Header) uint64 { return flag(h.AckReq) }},
		{72, 24, func(h *Header) uint64 { return uint64(h.PSN) }},
	}
	deth = []field{
		{0, 32, func(h *Header) uint64 { return uint64(h.QKey) }},
		{40, 24, func(h *Header) uint64 { return uint64(h.SrcQP) }},
	}
	reth = []field{
		{0, 64, func(h *Header) uint64 { return h.VA }},
		{64, 32, func(h *Header) uint64 { return uint64(h.RKey) }},
		{96, 32, func(h *Header) uint64 { return uint64(h.Len) }},
	}
	atomicETH = []field{
		{0, 64, func(h *Header) uint64 { return h.VA }},
		{64, 32, func(h *Header) uint64 { return uint64(h.RKey) }},
		{96, 64, func(h *Header) uint64 { return h.SwapAdd }},
		{160, 64, func(h *Header) uint64 { return h.Compare }},
	}
	masks = []field{
		{0, 64, func(h *Header) uint64 { return h.SwapAddMask }},
		{64, 64, func(h *Header) uint64 { return h.CompareMask }},
	}
	aeth = []field{
		{0, 8, func(h *Header) uint64 { return uint64(h.Syndrome) }},
		{8, 24, func(h *Header) uint64 { return uint64(h.MSN) }},
	}
	atomicAckETH = []field{{0, 64, func(h *Header) uint64 { return h.Orig }}}
	immDt        = []field{{0, 32, func(h *Header) uint64 { return uint64(h.Imm) }}}
	ieth         = []field{{0, 32, func(h *Header) uint64 { return uint64(h.Inv) }}}
)

type layout struct {
	name    string
	headers [][]field
	data    bool
}

// layouts are the packets of all opcodes (section 9.2.1).
var layouts = map[Opcode]layout{
	0x00: {"RC_SEND_FIRST", nil, true},
	0x01: {"RC_SEND_MIDDLE", nil, true},
	0x02: {"RC_SEND_LAST", nil, true},
	0x03: {"RC_SEND_LAST_WITH_IMMEDIATE", [][]field{immDt}, true},
	0x04: {"RC_SEND_ONLY", nil, true},
	0x05: {"RC_SEND_ONLY_WITH_IMMEDIATE", [][]field{immDt}, true},
	0x06: {"RC_RDMA_WRITE_FIRST", [][]field{reth}, true},
	0x07: {"RC_RDMA_WRITE_MIDDLE", nil, true},
	0x08: {"RC_RDMA_WRITE_LAST", nil, true},
	0x09: {"RC_RDMA_WRITE_LAST_WITH_IMMEDIATE", [][]field{immDt}, true},
	0x0A: {"RC_RDMA_WRITE_ONLY", [][]field{reth}, true},
	0x0B: {"RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE", [][]field{reth, immDt}, true},
	0x0C: {"RC_RDMA_READ_REQUEST", [][]field{reth}, false},
	0x0D: {"RC_RDMA_READ_RESPONSE_FIRST", [][]field{aeth}, true},
	0x0E: {"RC_RDMA_READ_RESPONSE_MIDDLE", nil, true},
	0x0F: {"RC_RDMA_READ_RESPONSE_LAST", [][]field{aeth}, true},
	0x10: {"RC_RDMA_READ_RESPONSE_ONLY", [][]field{aeth}, true},
	0x11: {"RC_ACKNOWLEDGE", [][]field{aeth}, false},
	0x12: {"RC_ATOMIC_ACKNOWLEDGE", [][]field{aeth, atomicAckETH}, false},
	0x13: {"RC_COMPARE_SWAP", [][]field{atomicETH}, false},
	0x14: {"RC_FETCH_ADD", [][]field{atomicETH}, false},
	0x16: {"RC_SEND_LAST_WITH_INVALIDATE", [][]field{ieth}, true},
	0x17: {"RC_SEND_ONLY_WITH_INVALIDATE", [][]field{ieth}, true},
	0x20: {"UC_SEND_FIRST", nil, true},
	0x21: {"UC_SEND_MIDDLE", nil, true},
	0x22: {"UC_SEND_LAST", nil, true},
	0x23: {"UC_SEND_LAST_WITH_IMMEDIATE", [][]field{immDt}, true},
	0x24: {"UC_SEND_ONLY", nil, true},
	0x25: {"UC_SEND_ONLY_WITH_IMMEDIATE", [][]field{immDt}, true},
	0x26: {"UC_RDMA_WRITE_FIRST", [][]field{reth}, true},
	0x27: {"UC_RDMA_WRITE_MIDDLE", nil, true},
	0x28: {"UC_RDMA_WRITE_LAST", nil, true},
	0x29: {"UC_RDMA_WRITE_LAST_WITH_IMMEDIATE", [][]field{immDt}, true},
	0x2A: {"UC_RDMA_WRITE_ONLY", [][]field{reth}, true},
	0x2B: {"UC_RDMA_WRITE_ONLY_WITH_IMMEDIATE", [][]field{reth, immDt}, true},
	0x64: {"UD_SEND_ONLY", [][]field{deth}, true},
	0x65: {"UD_SEND_ONLY_WITH_IMMEDIATE", [][]field{deth, immDt}, true},
	0xC0: {"RC_MASKED_COMPARE_SWAP", [][]field{atomicETH, masks}, false},
	0xC1: {"RC_MASKED_FETCH_ADD", [][]field{atomicETH, masks}, false},
}

func opcodes() []Opcode {
	var all []Opcode
	for op := range layouts {
		all = append(all, op)
	}
	slices.Sort(all)
	return all
}

// put writes a header bit by bit.
func put(b []byte, fields []field, h *Header) []byte {
	var n int
	for _, f := range fields {
		n = max(n, f.at+f.width)
	}
	out := make([]byte, n/8)
	for _, f := range fields {
		v := f.get(h)
		for i := range f.width {
			if v>>(f.width-1-i)&1 != 0 {
				out[(f.at+i)/8] |= 0x80 >> ((f.at + i) % 8)
			}
		}
	}
	return append(b, out...)
}

// slowCRC is the CRC-32 of Ethernet, bit by bit.
func slowCRC(b []byte) uint32 {
	s := ^uint32(0)
	for _, c := range b {
		for i := range 8 {
			s = s>>1 ^ 0xEDB88320*(s&1^uint32(c>>i&1))
		}
	}
	return ^s
}

// reference makes a packet by the letter of the standard.
func reference(h *Header, payload []byte) []byte {
	trans := put(nil, bthFields, h)
	trans[1] |= byte((4-len(payload)%4)%4) << 4
	for _, f := range layouts[h.Opcode].headers {
		trans = put(trans, f, h)
	}
	trans = append(trans, payload...)
	for len(trans)%4 != 0 {
		trans = append(trans, 0)
	}
	udpLen := 8 + len(trans) + 4

	ip := []byte{0x60 | h.TClass>>4, h.TClass<<4 | byte(h.FlowLabel>>16), byte(h.FlowLabel >> 8), byte(h.FlowLabel),
		byte(udpLen >> 8), byte(udpLen), 17, h.HopLimit}
	ip = append(append(ip, h.Src[:]...), h.Dst[:]...)

	port := UDPSourcePort(h.DestQP)
	udp := []byte{byte(port >> 8), byte(port), 4791 >> 8, 4791 & 0xff, byte(udpLen >> 8), byte(udpLen), 0, 0}
	masked := slices.Clone(ip)
	masked[0] |= 0x0f
	masked[1], masked[2], masked[3], masked[7] = 0xff, 0xff, 0xff, 0xff
	return append(append(ip, trans...), slowICRC(masked, udp, trans)...)
}

// slowICRC gives the four bytes of the invariant CRC of an IP header, already masked, a UDP header, and all from the BTH to the pad.
func slowICRC(ip, udp, trans []byte) []byte {
	udp, trans = slices.Clone(udp), slices.Clone(trans)
	udp[6], udp[7] = 0xff, 0xff
	trans[4] = 0xff
	ones := bytes.Repeat([]byte{0xff}, 8)
	return binary.LittleEndian.AppendUint32(nil, slowCRC(slices.Concat(ones, ip, udp, trans)))
}

// TestHardwareICRC holds the reference to packets of real NICs. They are of IPv4; what differs is where the masked fields lie.
func TestHardwareICRC(t *testing.T) {
	for _, tt := range []struct {
		name  string
		frame string // from the IP header
	}{
		{"congestion notification of a ConnectX-4 Lx", "45c2003c718c4000401191610a0011010a001201" + "000012b700280000" +
			"8100ffff400001180000000000000000000000000000000000000000" + "82fd002a"},
		{"UC SEND of 18 bytes", "45010040047840004011b4d5c0a80007c0a80007" + "c00012b7002caca2" +
			"2460ffff000000d300cf1710" + "4630818be28935d90e9a95505401be885e500000" + "78f353f3"},
	} {
		p, err := hex.DecodeString(tt.frame)
		if err != nil {
			t.Fatal(err)
		}
		ip, end := slices.Clone(p[:20]), len(p)-ICRCLen
		ip[1], ip[8], ip[10], ip[11] = 0xff, 0xff, 0xff, 0xff // type of service, time to live, checksum
		if got := slowICRC(ip, p[20:28], p[28:end]); !bytes.Equal(got, p[end:]) {
			t.Errorf("%s: ICRC %x, want %x", tt.name, got, p[end:])
		}
	}
}
