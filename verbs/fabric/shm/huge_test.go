package shm

import "testing"

func TestAskHuge(t *testing.T) {
	for _, n := range []int{0, 1, hugeMin - 1, hugeMin, hugePage, 3*hugePage + 5} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i * 7)
		}
		for range 2 {
			askHuge(b)
		}
		for i := range b {
			if b[i] != byte(i*7) {
				t.Fatalf("byte %d of %d is %d", i, n, b[i])
			}
		}
	}
	askHuge(make([]byte, hugeMin)[:hugeMin:hugeMin])
}
