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
