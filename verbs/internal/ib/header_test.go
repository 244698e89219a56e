package ib

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
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

// sample has another value in every byte of every field.
func sample(op Opcode) Header {
	return Header{
		Src: GIDOf("a"), Dst: GIDOf("b"), TClass: 0x62, HopLimit: 0x40, FlowLabel: 0xabcde,
		Opcode: op, Solicited: true, MigReq: true, AckReq: true, PKey: 0xffff, DestQP: 0x123456, PSN: 0x789abc,
		QKey: 0x11223344, SrcQP: 0x556677, VA: 0x0102030405060708, RKey: 0x090a0b0c, Len: 0x0d0e0f10,
		SwapAdd: 0x2021222324252627, Compare: 0x28292a2b2c2d2e2f,
		SwapAddMask: 0x3031323334353637, CompareMask: 0x38393a3b3c3d3e3f,
		Syndrome: NAKSyndrome(NAKAccess), MSN: 0x4a4b4c, Orig: 0x5051525354555657, Imm: 0x61626364, Inv: 0x71727374,
	}
}

// only clears what a packet with the header's opcode does not carry.
func only(h Header) Header {
	c := Header{Src: h.Src, Dst: h.Dst, TClass: h.TClass, HopLimit: h.HopLimit, FlowLabel: h.FlowLabel, Opcode: h.Opcode,
		Solicited: h.Solicited, MigReq: h.MigReq, AckReq: h.AckReq, PKey: h.PKey, DestQP: h.DestQP, PSN: h.PSN}
	for _, f := range layouts[h.Opcode].headers {
		switch &f[0] {
		case &deth[0]:
			c.QKey, c.SrcQP = h.QKey, h.SrcQP
		case &reth[0]:
			c.VA, c.RKey, c.Len = h.VA, h.RKey, h.Len
		case &atomicETH[0]:
			c.VA, c.RKey, c.SwapAdd, c.Compare = h.VA, h.RKey, h.SwapAdd, h.Compare
		case &masks[0]:
			c.SwapAddMask, c.CompareMask = h.SwapAddMask, h.CompareMask
		case &aeth[0]:
			c.Syndrome, c.MSN = h.Syndrome, h.MSN
		case &atomicAckETH[0]:
			c.Orig = h.Orig
		case &immDt[0]:
			c.Imm = h.Imm
		case &ieth[0]:
			c.Inv = h.Inv
		}
	}
	return c
}

func build(h *Header, payload []byte) []byte {
	return Seal(append(h.Append(nil, len(payload)), payload...))
}

// TestGolden compares the packet of every opcode with bytes that tshark has confirmed (package trace).
func TestGolden(t *testing.T) {
	var n int
	datadriven.RunTest(t, "testdata/packets", func(t *testing.T, d *datadriven.TestData) string {
		var name string
		var payload string
		d.ScanArgs(t, "opcode", &name)
		if d.HasArg("payload") {
			d.ScanArgs(t, "payload", &payload)
		}
		for op, l := range layouts {
			if l.name == name {
				n++
				h := sample(op)
				var lines []string
				for c := range slices.Chunk(build(&h, []byte(payload)), 16) {
					lines = append(lines, hex.EncodeToString(c))
				}
				return strings.Join(lines, "\n") + "\n"
			}
		}
		t.Fatalf("%s: no opcode %q", d.Pos, name)
		return ""
	})
	if n < len(layouts) {
		t.Errorf("%d packets, fewer than the %d opcodes", n, len(layouts))
	}
}

func genHeader(t *rapid.T) Header {
	gid := rapid.SliceOfN(rapid.Byte(), 16, 16)
	u24 := rapid.Uint32Max(PSNMask)
	return Header{
		Src: GID(gid.Draw(t, "src")), Dst: GID(gid.Draw(t, "dst")), TClass: rapid.Uint8().Draw(t, "class"),
		HopLimit: rapid.Uint8().Draw(t, "hops"), FlowLabel: rapid.Uint32Max(1<<20-1).Draw(t, "flow"),
		Opcode: rapid.SampledFrom(opcodes()).Draw(t, "opcode"), Solicited: rapid.Bool().Draw(t, "SE"), MigReq: rapid.Bool().Draw(t, "M"),
		AckReq: rapid.Bool().Draw(t, "A"), PKey: rapid.Uint16().Draw(t, "pkey"), DestQP: u24.Draw(t, "qp"), PSN: u24.Draw(t, "psn"),
		QKey: rapid.Uint32().Draw(t, "qkey"), SrcQP: u24.Draw(t, "srcqp"), VA: rapid.Uint64().Draw(t, "va"),
		RKey: rapid.Uint32().Draw(t, "rkey"), Len: rapid.Uint32().Draw(t, "len"),
		SwapAdd: rapid.Uint64().Draw(t, "swap"), Compare: rapid.Uint64().Draw(t, "compare"),
		SwapAddMask: rapid.Uint64().Draw(t, "swap mask"), CompareMask: rapid.Uint64().Draw(t, "compare mask"),
		Syndrome: rapid.Uint8().Draw(t, "syndrome"), MSN: u24.Draw(t, "msn"), Orig: rapid.Uint64().Draw(t, "orig"),
		Imm: rapid.Uint32().Draw(t, "imm"), Inv: rapid.Uint32().Draw(t, "inv"),
	}
}

// TestRoundTrip holds Append and Seal to the reference, and Parse to be their inverse, also behind other bytes in the same slice.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := genHeader(t)
		var payload []byte
		if layouts[h.Opcode].data {
			payload = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")
		}
		p := build(&h, payload)
		if want := reference(&h, payload); !bytes.Equal(p, want) {
			t.Fatalf("%v with %d bytes:\n%x, want\n%x", h.Opcode, len(payload), p, want)
		}
		if got := h.Append([]byte("before"), len(payload)); string(got) != "before"+string(p[:h.Opcode.HeaderLen()]) {
			t.Fatalf("appended behind other bytes: %x", got)
		}
		got := sample(UDSendOnly) // what was there before must not stay
		data, err := got.Parse(p)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(only(h), got); d != "" {
			t.Fatalf("parsed (-want +got):\n%s", d)
		}
		if !bytes.Equal(data, payload) {
			t.Fatalf("payload %x, want %x", data, payload)
		}
	})
}

// TestWideNumbers checks that a number wider than its field does not run into its neighbor.
func TestWideNumbers(t *testing.T) {
	for _, op := range opcodes() {
		h := sample(op)
		want := build(&h, nil)
		h.FlowLabel |= 0xff << 20
		h.DestQP |= 0xff << 24
		h.PSN |= 0xff << 24
		h.SrcQP |= 0xff << 24
		h.MSN |= 0xff << 24
		if got := build(&h, nil); !bytes.Equal(got, want) {
			t.Errorf("%v: %x, want %x", op, got, want)
		}
	}
}

// reseal makes the ICRC of a changed packet right, so that other checks are reached.
func reseal(p []byte) []byte {
	body := p[:len(p)-ICRCLen]
	return binary.LittleEndian.AppendUint32(slices.Clone(body), icrc(body))
}

func TestRefused(t *testing.T) {
	send, write, ack := sample(RCSendOnly), sample(RCWriteOnlyImm), sample(RCAck)
	good := build(&send, []byte("hello"))
	set := func(p []byte, at int, v byte) []byte {
		q := slices.Clone(p)
		q[at] = v
		return q
	}
	longer := func(p []byte, n int) []byte {
		q := append(slices.Clone(p), make([]byte, n)...)
		binary.BigEndian.PutUint16(q[4:], binary.BigEndian.Uint16(p[4:])+uint16(n))
		return reseal(q)
	}
	shorter := func(p []byte, n int) []byte {
		q := slices.Clone(p[:len(p)-n])
		binary.BigEndian.PutUint16(q[4:], binary.BigEndian.Uint16(p[4:])-uint16(n))
		return reseal(q)
	}
	for _, tt := range []struct {
		name  string
		p     []byte
		field string
		err   error
	}{
		{"empty", nil, "packet length", ErrShort},
		{"one byte less than a packet", good[:GRHLen+12+ICRCLen-1], "packet length", ErrShort},
		{"cut by one", good[:len(good)-1], "length after the IPv6 header", ErrShort},
		{"one byte more", append(slices.Clone(good), 0), "length after the IPv6 header", ErrMalformed},
		{"IPv4", set(good, 0, 0x45), "IP version", ErrMalformed},
		{"TCP", set(good, 6, 6), "IPv6 next header", ErrMalformed},
		{"transport version 1", reseal(set(good, 41, good[41]|1)), "transport version", ErrMalformed},
		{"payload changed", set(good, 53, 'a'), "ICRC", ErrICRC},
		{"pad changed", set(good, 57, 1), "ICRC", ErrICRC},
		{"ICRC changed", set(good, len(good)-1, good[len(good)-1]^0x80), "ICRC", ErrICRC},
		{"another source", set(good, 23, good[23]^1), "ICRC", ErrICRC},
		{"another queue pair", set(good, 47, good[47]^1), "ICRC", ErrICRC},
		{"reserved opcode of RC", reseal(set(good, 40, 0x15)), "opcode", ErrOpcode},
		{"reliable datagram", reseal(set(good, 40, 0x44)), "opcode", ErrOpcode},
		{"manufacturer's, not ours", reseal(set(good, 40, 0xC2)), "opcode", ErrOpcode},
		{"extended headers cut", shorter(build(&write, nil), 4), "length of the headers of RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE", ErrShort},
		{"payload not padded", shorter(good, 3), "length of the padded payload modulo 4", ErrMalformed},
		{"pad without payload", reseal(set(build(&send, nil), 41, 0x10)), "pad count", ErrMalformed},
		{"acknowledgement with payload", longer(build(&ack, nil), 4), "payload length of RC_ACKNOWLEDGE", ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h Header
			payload, err := h.Parse(tt.p)
			var pe *PacketError
			if !errors.Is(err, tt.err) || !errors.As(err, &pe) || pe.Field != tt.field {
				t.Fatalf("error %v, want %q: %v", err, tt.field, tt.err)
			}
			if pe.Got == pe.Want {
				t.Errorf("%v: what is there and what is expected are the same", err)
			}
			if payload != nil {
				t.Errorf("payload %x of a refused packet", payload)
			}
		})
	}
}

// TestReservedOpcode checks that a responder has what it needs for its NAK.
func TestReservedOpcode(t *testing.T) {
	h := sample(0x15)
	want := only(h)
	var got Header
	if _, err := got.Parse(build(&h, nil)); !errors.Is(err, ErrOpcode) {
		t.Fatalf("error %v, want %v", err, ErrOpcode)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("header (-want +got):\n%s", d)
	}
}

// TestVariantFields checks that a router may change what the ICRC leaves out, and nothing else.
func TestVariantFields(t *testing.T) {
	h := sample(RCSendOnly)
	p := build(&h, []byte("abcd"))
	variant := map[int]byte{0: 0x0f, 1: 0xff, 2: 0xff, 3: 0xff, 7: 0xff, 44: 0xff} // bits of each byte
	for at := range p {
		for bit := range 8 {
			q := slices.Clone(p)
			q[at] ^= 1 << bit
			var g Header
			_, err := g.Parse(q)
			if free := variant[at]>>bit&1 != 0; free != (err == nil) {
				t.Errorf("bit %d of byte %d changed: error %v, may change: %v", bit, at, err, free)
			}
		}
	}
}

func TestSourcePort(t *testing.T) {
	seen := map[uint16]bool{}
	for qp := range uint32(1 << 14) {
		port := UDPSourcePort(qp)
		if port < 0xC000 || seen[port] {
			t.Fatalf("queue pair %#x: port %#x is below 0xc000 or used by a neighbor", qp, port)
		}
		seen[port] = true
	}
	if UDPSourcePort(0x4000) == UDPSourcePort(0) {
		t.Error("the upper bits of the number do not count")
	}
}

func FuzzParse(f *testing.F) {
	for op := range layouts {
		h := sample(op)
		f.Add(build(&h, nil))
		if layouts[op].data {
			f.Add(build(&h, []byte("payload")))
		}
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var h Header
		payload, err := h.Parse(p)
		if errors.Is(err, ErrICRC) { // no fuzzer guesses it
			p = reseal(p)
			payload, err = h.Parse(p)
		}
		var pe *PacketError
		if err != nil {
			if !errors.As(err, &pe) {
				t.Fatalf("error %v is no *PacketError", err)
			}
			return
		}
		// Reserved bits and pad are the only ones that a header does not hold.
		want := slices.Clone(p)
		want[44], want[48] = 0, want[48]&0x80
		if h.Opcode.Transport() == UD {
			want[GRHLen+bthLen+4] = 0
		}
		end := len(p) - ICRCLen
		clear(want[end-int(p[41]>>4&MaxPad) : end])
		want = reseal(want)
		// A sender pads to the next multiple of four and no further, so that the count follows from the payload.
		if got := build(&h, payload); !bytes.Equal(got, want) {
			t.Fatalf("appended\n%x, want\n%x", got, want)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	for _, op := range opcodes() {
		h := sample(op)
		var payload []byte
		if op.HasPayload() {
			payload = make([]byte, 1021)
		}
		buf := make([]byte, 0, 2048)
		var got Header
		var err error
		if n := testing.AllocsPerRun(100, func() {
			b := Seal(append(h.Append(buf, len(payload)), payload...))
			_, err = got.Parse(b)
		}); n != 0 || err != nil {
			t.Errorf("%v: %v allocations, error %v", op, n, err)
		}
	}
}

func BenchmarkPacket(b *testing.B) {
	for _, size := range []int{0, 64, 256, 1024, 4096} {
		payload := make([]byte, size)
		h := sample(RCSendOnly)
		buf := make([]byte, 0, 8192)
		b.Run(fmt.Sprintf("seal/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				Seal(append(h.Append(buf, size), payload...))
			}
		})
		p := build(&h, payload)
		b.Run(fmt.Sprintf("parse/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Parse(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
