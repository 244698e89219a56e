package verbs

import (
	"testing"
	"time"
)

func TestCredits(t *testing.T) {
	const wrap = 1 << creditBits
	for _, c := range []struct {
		posted, sent uint32
		want         int32
	}{{0, 0, 0}, {5, 3, 2}, {3, 5, -2}, {0, wrap - 1, 1}, {2, wrap - 3, 5}, {wrap - 1, 0, -1}, {7, 1<<32 - 1, 8}, {1 << 15, 0, 1 << 15}} {
		if got := creditsLeft(c.posted%wrap, c.sent); got != c.want {
			t.Errorf("%d posted, %d sent: %d left, want %d", c.posted, c.sent, got, c.want)
		}
	}
}

// TestRNRTimer compares with some lines of IBTA table 45.
func TestRNRTimer(t *testing.T) {
	for code, want := range map[uint8]time.Duration{0: 655360 * time.Microsecond, 1: 10 * time.Microsecond, 12: 640 * time.Microsecond, 20: 10240 * time.Microsecond, 31: 491520 * time.Microsecond} {
		if got := rnrTimer(code); got != want {
			t.Errorf("code %d is %v, want %v", code, got, want)
		}
	}
}
