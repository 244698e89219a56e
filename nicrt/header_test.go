package nicrt

import (
	"bytes"
	"errors"
	"testing"
)

func TestHeaderLayout(t *testing.T) {
	h := Header{Program: 0x01, Op: 0x02, Aux: 0x0403, Ctx: 0x08070605, Tag: 0x100f0e0d0c0b0a09}
	want := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	got := make([]byte, HeaderLen)
	h.Encode(got)
	if !bytes.Equal(got, want) {
		t.Fatalf("encoded % x, want % x", got, want)
	}
	var back Header
	back.Decode(got)
	if back != h {
		t.Fatalf("decoded %v, want %v", back, h)
	}
}

func TestParseHeaderShort(t *testing.T) {
	for n := range HeaderLen {
		_, _, err := ParseHeader(make([]byte, n))
		var short *ShortMessageError
		if !errors.As(err, &short) || short.Len != n {
			t.Errorf("%d bytes: error %v, want a ShortMessageError of length %d", n, err, n)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, HeaderLen-1))
	f.Add([]byte("0123456789abcdefpayload"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := ParseHeader(b)
		if len(b) < HeaderLen {
			if err == nil {
				t.Fatalf("accepted %d bytes", len(b))
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		out := make([]byte, HeaderLen, len(b))
		h.Encode(out)
		if out = append(out, payload...); !bytes.Equal(out, b) {
			t.Fatalf("round trip gave % x, want % x", out, b)
		}
	})
}
