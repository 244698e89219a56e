package shm

import (
	"errors"
	"math"
	"strings"
	"testing"

	"outboard/verbs/fabric"
)

const nonceText = "000102030405060708090a0b0c0d0e0f"

func TestParseAddress(t *testing.T) {
	for _, test := range []struct {
		name, text string
		ok         bool
	}{
		{"usual", "shm:123:7:456:" + nonceText, true},
		{"largest", "shm:1073741824:1073741824:18446744073709551615:" + nonceText, true},
		{"empty", "", false},
		{"other fabric", "inproc:1:2", false},
		{"no nonce", "shm:123:7:456", false},
		{"empty nonce", "shm:123:7:456:", false},
		{"short nonce", "shm:123:7:456:0001", false},
		{"long nonce", "shm:123:7:456:" + nonceText + "00", false},
		{"upper case nonce", "shm:123:7:456:" + strings.ToUpper(nonceText), false},
		{"no hex", "shm:123:7:456:" + strings.Repeat("x", 32), false},
		{"pid 0", "shm:0:7:456:" + nonceText, false},
		{"negative pid", "shm:-1:7:456:" + nonceText, false},
		{"negative fd", "shm:1:-7:456:" + nonceText, false},
		{"large pid", "shm:1073741825:7:456:" + nonceText, false},
		{"huge pid", "shm:4294967297:7:456:" + nonceText, false},
		{"leading zero", "shm:0123:7:456:" + nonceText, false},
		{"plus", "shm:+123:7:456:" + nonceText, false},
		{"hexadecimal", "shm:0x7b:7:456:" + nonceText, false},
		{"underscore", "shm:1_23:7:456:" + nonceText, false},
		{"space", "shm: 123:7:456:" + nonceText, false},
		{"path", "shm:123/../1:7:456:" + nonceText, false},
		{"trailing field", "shm:123:7:456:" + nonceText + ":", false},
		{"newline", "shm:123:7:456:" + nonceText + "\n", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, err := parseAddress(test.text)
			switch {
			case test.ok && (err != nil || a.String() != test.text):
				t.Fatalf("%v, %v", a, err)
			case !test.ok && !errors.Is(err, fabric.ErrAddress):
				t.Fatalf("%v, %v, want ErrAddress", a, err)
			}
		})
	}
	longest := address{pid: 1 << 30, fd: 1 << 30, start: math.MaxUint64}
	if n := len(longest.String()); n > 200 {
		t.Errorf("the longest address has %d bytes", n)
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("shm:123:7:456:" + nonceText)
	f.Add("shm::::")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text)
		if err == nil && a.String() != text {
			t.Fatalf("%q became %q", text, a)
		}
		if err != nil && (!errors.Is(err, fabric.ErrAddress) || len(err.Error()) > 2000) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
