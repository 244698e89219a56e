package verbs_test

import (
	"bytes"
	"errors"
	"testing"

	"outboard/verbs"
)

// TestTMHeaderBytes pins the layout of the wire.
func TestTMHeaderBytes(t *testing.T) {
	b := verbs.TMH{Opcode: verbs.TMRndv, AppCtx: 0x01020304, Tag: 0x1112131415161718}.AppendTo(nil)
	b = verbs.RVH{Addr: 0x2122232425262728, RKey: 0x31323334, Len: 0x41424344}.AppendTo(b)
	want := []byte{1, 0, 0, 0, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
		0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44}
	if !bytes.Equal(b, want) {
		t.Errorf("headers %x, want %x", b, want)
	}
	for o, want := range []verbs.TMOpcode{verbs.TMNoTag, verbs.TMRndv, verbs.TMFin, verbs.TMEager} {
		if int(want) != o {
			t.Errorf("%v is %d, want %d", want, uint8(want), o)
		}
	}
}

func TestParseTMErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"empty", nil},
		{"unknown opcode", make([]byte, 0, 16)},
		{"short", verbs.TMH{Opcode: verbs.TMEager}.AppendTo(nil)[:15]},
		{"no RVH", verbs.TMH{Opcode: verbs.TMRndv}.AppendTo(nil)},
		{"above 2 GiB", verbs.RVH{Len: verbs.MaxRndvLen + 1}.AppendTo(verbs.TMH{Opcode: verbs.TMRndv}.AppendTo(nil))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "unknown opcode" {
				tt.b = verbs.TMH{Opcode: 4}.AppendTo(tt.b)
			}
			_, _, err := verbs.ParseTM(tt.b)
			wantErr(t, err, verbs.ErrInvalid)
		})
	}
}

// FuzzParseTM: what is parsed and written again is the same, and says what the bytes say.
func FuzzParseTM(f *testing.F) {
	f.Add([]byte{0})
	f.Add(eager(0x0102030405060708, []byte("data")))
	f.Add(verbs.RVH{Addr: 1, RKey: 2, Len: 3}.AppendTo(verbs.TMH{Opcode: verbs.TMRndv, Tag: 4}.AppendTo(nil)))
	f.Add(verbs.TMH{Opcode: verbs.TMFin}.AppendTo(nil)[:15])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, r, err := verbs.ParseTM(b)
		if err != nil {
			if !errors.Is(err, verbs.ErrInvalid) || h != (verbs.TMH{}) || r != (verbs.RVH{}) {
				t.Fatalf("%+v, %+v, error %v", h, r, err)
			}
			return
		}
		again := h.AppendTo(nil)
		if h.Opcode == verbs.TMRndv {
			again = r.AppendTo(again)
		} else if r != (verbs.RVH{}) {
			t.Fatalf("%v with %+v", h.Opcode, r)
		}
		want := append([]byte(nil), b[:min(len(b), len(again))]...)
		if h.Opcode == verbs.TMNoTag && len(b) < verbs.TMHSize {
			want = make([]byte, verbs.TMHSize) // only the opcode is there
		}
		copy(want[1:4], []byte{0, 0, 0}) // reserved
		if !bytes.Equal(again, want) {
			t.Fatalf("%x, written again %x", want, again)
		}
	})
}
