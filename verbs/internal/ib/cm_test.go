package ib

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// cmField is a row of a message's table in section 12.6: name here, byte, first bit in it (0 is the most significant), width in bits.
type cmField struct {
	name           string
	at, bit, width int
}

func pathFields(name string, at int) []cmField {
	return []cmField{
		{name + ".LocalLID", at, 0, 16}, {name + ".RemoteLID", at + 2, 0, 16},
		{name + ".LocalGID", at + 4, 0, 128}, {name + ".RemoteGID", at + 20, 0, 128},
		{name + ".FlowLabel", at + 36, 0, 20}, {name + ".Rate", at + 39, 2, 6},
		{name + ".TrafficClass", at + 40, 0, 8}, {name + ".HopLimit", at + 41, 0, 8},
		{name + ".SL", at + 42, 0, 4}, {name + ".SubnetLocal", at + 42, 4, 1}, {name + ".AckTimeout", at + 43, 0, 5},
	}
}

func withIDs(f ...cmField) []cmField {
	return append([]cmField{{"LocalCommID", 0, 0, 32}, {"RemoteCommID", 4, 0, 32}}, f...)
}

var cmTables = map[AttributeID]struct {
	make   func() CMMessage
	fields []cmField
}{
	0x10: {func() CMMessage { return new(REQ) }, slices.Concat([]cmField{
		{"LocalCommID", 0, 0, 32}, {"ServiceID", 8, 0, 64}, {"LocalCAGUID", 16, 0, 64}, {"LocalQKey", 28, 0, 32},
		{"LocalQPN", 32, 0, 24}, {"ResponderResources", 35, 0, 8}, {"LocalEECN", 36, 0, 24}, {"InitiatorDepth", 39, 0, 8},
		{"RemoteEECN", 40, 0, 24}, {"RemoteCMTimeout", 43, 0, 5}, {"ServiceType", 43, 5, 2}, {"EndToEndFlow", 43, 7, 1},
		{"StartingPSN", 44, 0, 24}, {"LocalCMTimeout", 47, 0, 5}, {"RetryCount", 47, 5, 3}, {"PKey", 48, 0, 16},
		{"MTU", 50, 0, 4}, {"RDCExists", 50, 4, 1}, {"RNRRetryCount", 50, 5, 3},
		{"MaxCMRetries", 51, 0, 4}, {"SRQ", 51, 4, 1}, {"ExtendedType", 51, 5, 3}, {"PrivateData", 140, 0, 92 * 8},
	}, pathFields("Primary", 52), pathFields("Alternate", 96))},
	0x11: {func() CMMessage { return new(MRA) }, withIDs(
		cmField{"Stage", 8, 0, 2}, cmField{"ServiceTimeout", 9, 0, 5}, cmField{"PrivateData", 10, 0, 222 * 8})},
	0x12: {func() CMMessage { return new(REJ) }, withIDs(
		cmField{"Stage", 8, 0, 2}, cmField{"InfoLen", 9, 0, 7}, cmField{"Reason", 10, 0, 16}, cmField{"Info", 12, 0, 72 * 8},
		cmField{"PrivateData", 84, 0, 148 * 8})},
	0x13: {func() CMMessage { return new(REP) }, withIDs(
		cmField{"LocalQKey", 8, 0, 32}, cmField{"LocalQPN", 12, 0, 24}, cmField{"LocalEECN", 16, 0, 24}, cmField{"StartingPSN", 20, 0, 24},
		cmField{"ResponderResources", 24, 0, 8}, cmField{"InitiatorDepth", 25, 0, 8}, cmField{"TargetAckDelay", 26, 0, 5},
		cmField{"FailoverAccepted", 26, 5, 2}, cmField{"EndToEndFlow", 26, 7, 1}, cmField{"RNRRetryCount", 27, 0, 3}, cmField{"SRQ", 27, 3, 1},
		cmField{"LocalCAGUID", 28, 0, 64}, cmField{"PrivateData", 36, 0, 196 * 8})},
	0x14: {func() CMMessage { return new(RTU) }, withIDs(cmField{"PrivateData", 8, 0, 224 * 8})},
	0x15: {func() CMMessage { return new(DREQ) }, withIDs(cmField{"RemoteQPN", 8, 0, 24}, cmField{"PrivateData", 12, 0, 220 * 8})},
	0x16: {func() CMMessage { return new(DREP) }, withIDs(cmField{"PrivateData", 8, 0, 224 * 8})},
}

// value finds a field by its name.
func value(m CMMessage, name string) reflect.Value {
	v := reflect.ValueOf(m).Elem()
	for part := range strings.SplitSeq(name, ".") {
		v = v.FieldByName(part)
	}
	return v
}

// copyBits writes the last bits of src at a place of dst.
func copyBits(dst []byte, at int, src []byte, width int) {
	from := len(src)*8 - width
	for i := range width {
		if src[(from+i)/8]>>(7-(from+i)%8)&1 != 0 {
			dst[(at+i)/8] |= 0x80 >> ((at + i) % 8)
		}
	}
}

// reserved has a 0 for every bit of a message that its table does not name.
func reserved(a AttributeID) []byte {
	mask := make([]byte, madDataLen)
	for _, f := range cmTables[a].fields {
		copyBits(mask, f.at*8+f.bit, bytes.Repeat([]byte{0xff}, (f.width+7)/8), f.width)
	}
	return mask
}

// drawCM makes a message of random fields and, by its table, the bytes that it should become.
func drawCM(t *rapid.T, a AttributeID) (CMMessage, []byte) {
	table := cmTables[a]
	m, want := table.make(), make([]byte, madDataLen)
	for _, f := range table.fields {
		raw := rapid.SliceOfN(rapid.Byte(), (f.width+7)/8, (f.width+7)/8).Draw(t, f.name)
		raw[0] &= 0xff >> (-f.width & 7)
		if f.name == "InfoLen" {
			raw[0] %= 73
		}
		switch v := value(m, f.name); v.Kind() {
		case reflect.Array:
			reflect.Copy(v, reflect.ValueOf(raw))
		case reflect.Bool:
			v.SetBool(raw[0] != 0)
		default:
			v.SetUint(binary.BigEndian.Uint64(append(make([]byte, 8-len(raw)), raw...)))
		}
		copyBits(want, f.at*8+f.bit, raw, f.width)
	}
	return m, want
}

// TestCMRoundTrip holds every message to its table in the standard, and Parse to be the inverse of Append.
func TestCMRoundTrip(t *testing.T) {
	for a, table := range cmTables {
		t.Run(a.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m, want := drawCM(t, a)
				got := m.Append([]byte("before"))
				if string(got[:6]) != "before" || !bytes.Equal(got[6:], want) {
					t.Fatalf("%+v:\n%x, want\n%x", m, got[6:], want)
				}
				parsed := table.make()
				if err := parsed.Parse(bytes.Repeat([]byte{1}, madDataLen)); err != nil { // what was there before must not stay
					t.Fatal(err)
				}
				if err := parsed.Parse(want); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(m, parsed); d != "" {
					t.Fatalf("parsed (-want +got):\n%s", d)
				}
			})
		})
	}
}

func TestMAD(t *testing.T) {
	m := NewCM(0x0102030405060708, &DREQ{LocalCommID: 0x11121314, RemoteCommID: 0x21222324, RemoteQPN: 0x313233})
	b := m.Append(nil)
	want := append([]byte{1, 7, 2, 3, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x15, 0, 0, 0, 0, 0, 0,
		0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0}, make([]byte, 220)...)
	if !bytes.Equal(b, want) {
		t.Errorf("%x, want\n%x", b, want)
	}
	full := MAD{Class: 3, ClassVersion: 2, Method: 0x81, Status: 0x0c, ClassSpecific: 0x0506, TID: 7, Attr: 0x35, Modifier: 0x01020304}
	full.Data[231] = 9
	var got MAD
	if err := got.Parse(full.Append(nil)); err != nil || got != full {
		t.Errorf("%+v, %v; want %+v", got, err, full)
	}
}

func TestMADRefused(t *testing.T) {
	good := NewCM(1, &RTU{}).Append(nil)
	edit := func(at int, v byte) []byte {
		p := slices.Clone(good)
		p[at] = v
		return p
	}
	rej := NewCM(1, &REJ{InfoLen: 73}).Append(nil)
	for _, tt := range []struct {
		name  string
		p     []byte
		field string
		err   error
	}{
		{"short", good[:255], "MAD length", ErrShort},
		{"long", append(slices.Clone(good), 0), "MAD length", ErrMalformed},
		{"base version", edit(0, 2), "MAD base version", ErrMalformed},
		{"class", edit(1, 3), "MAD class", ErrMalformed},
		{"class version", edit(2, 1), "version of the CM class", ErrMalformed},
		{"method", edit(3, 0x83), "CM method", ErrMalformed},
		{"attribute below", edit(17, 0x0f), "CM attribute", ErrMalformed},
		{"attribute above", edit(17, 0x17), "CM attribute", ErrMalformed},
		{"attribute, upper byte", edit(16, 1), "CM attribute", ErrMalformed},
		{"reject info longer than its place", rej, "reject info length", ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m MAD
			err := m.Parse(tt.p)
			if err == nil {
				_, err = m.CM()
			}
			var pe *PacketError
			if !errors.Is(err, tt.err) || !errors.As(err, &pe) || pe.Field != tt.field {
				t.Errorf("error %v, want %q: %v", err, tt.field, tt.err)
			}
		})
	}
	for a, table := range cmTables {
		for _, n := range []int{0, madDataLen - 1, madDataLen + 1} {
			if err := table.make().Parse(make([]byte, n)); err == nil {
				t.Errorf("%v of %d bytes parsed", a, n)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for i := RejNoQP; i <= RejInvalidAltFlowLabel; i++ {
		if s := i.String(); strings.HasPrefix(s, "reject reason") {
			t.Errorf("reason %d has no name", uint16(i))
		}
	}
	for _, tt := range []struct {
		got, want string
	}{
		{RejTimeout.String(), "timeout"},
		{RejStaleConnection.String(), "stale connection"},
		{RejConsumer.String(), "rejected by the consumer"},
		{RejectReason(0).String(), "reject reason 0"},
		{RejectReason(34).String(), "reject reason 34"},
		{AttrREQ.String(), "REQ"},
		{AttributeID(0x17).String(), "attribute 0x0017"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func FuzzParseMAD(f *testing.F) {
	for a, table := range cmTables {
		f.Add(NewCM(uint64(a), table.make()).Append(nil))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m MAD
		if m.Parse(p) != nil {
			return
		}
		want := slices.Clone(p)
		clear(want[18:20])
		if got := m.Append(nil); !bytes.Equal(got, want) {
			t.Fatalf("datagram\n%x, want\n%x", got, want)
		}
		msg, err := m.CM()
		if err != nil {
			return
		}
		for i, mask := range reserved(m.Attr) {
			want[MADHeaderLen+i] &= mask
		}
		if got := msg.Append(nil); !bytes.Equal(got, want[MADHeaderLen:]) {
			t.Fatalf("%v\n%x, want\n%x", m.Attr, got, want[MADHeaderLen:])
		}
	})
}
