package nicrt

import (
	"errors"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// TestMemoryAgainstMap runs random programs on the allocator and on a map of
// its lines with their owners.
func TestMemoryAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const lines = 32
		m := newMemoryOf(lines * memoryGrain)
		owner := make([]int, lines) // 0: free
		type piece struct {
			bytes []byte
			id    int
		}
		var held []piece
		next, peak := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"alloc": func(t *rapid.T) {
				n := rapid.IntRange(-1, lines*memoryGrain+1).Draw(t, "bytes")
				b, err := m.alloc(n)
				fits, free, run := false, 0, 0
				for _, o := range owner {
					if o != 0 {
						run = 0
						continue
					}
					free++
					if run++; run*memoryGrain >= n && n >= 0 {
						fits = true
					}
				}
				if fits = fits || n == 0; fits != (err == nil) {
					t.Fatalf("alloc of %d with owners %v: %v", n, owner, err)
				}
				if err != nil {
					var e *MemoryError
					if !errors.As(err, &e) || e.Wanted != n || e.Free != free*memoryGrain || !errors.Is(err, ErrNICMemory) {
						t.Fatalf("error %v, want %d wanted and %d free", err, n, free*memoryGrain)
					}
					return
				}
				if len(b) != n || cap(b) != n {
					t.Fatalf("alloc of %d gave length %d, capacity %d", n, len(b), cap(b))
				}
				if n == 0 {
					return
				}
				at := lineOf(t, m, b)
				next++
				for i := at; i < at+grains(n)/memoryGrain; i++ {
					if owner[i] != 0 {
						t.Fatalf("line %d given twice", i)
					}
					owner[i] = next
				}
				held = append(held, piece{b, next})
			},
			"release": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip("nothing held")
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "piece")
				m.release(held[i].bytes[:0])
				for l := range owner {
					if owner[l] == held[i].id {
						owner[l] = 0
					}
				}
				held = append(held[:i], held[i+1:]...)
			},
			"": func(t *rapid.T) {
				used := 0
				for _, o := range owner {
					if o != 0 {
						used += memoryGrain
					}
				}
				peak = max(peak, used)
				if m.used != used || m.peak != peak || m.free() != m.size()-used {
					t.Fatalf("used %d, peak %d, free %d; want %d, %d", m.used, m.peak, m.free(), used, peak)
				}
			},
		})
	})
}

func lineOf(t *rapid.T, m *memory, b []byte) int {
	off := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(m.arena)))
	if off%memoryGrain != 0 || int(off) >= m.size() {
		t.Fatalf("piece at %d", off)
	}
	return int(off) / memoryGrain
}

func TestMemoryIsAligned(t *testing.T) {
	for skip := range 70 {
		m := newMemory(make([]byte, 1000)[skip:])
		b, err := m.alloc(1)
		if err != nil {
			t.Fatal(err)
		}
		if a := uintptr(unsafe.Pointer(&b[0])); a%memoryGrain != 0 {
			t.Fatalf("arena from byte %d: piece at %#x", skip, a)
		}
	}
	for _, n := range []int{0, 1, 63} {
		if m := newMemory(make([]byte, n)); m.size() != 0 && n < memoryGrain {
			t.Errorf("arena of %d bytes has %d usable", n, m.size())
		}
	}
}

func TestMemoryReleaseOfWhatIsNotHeld(t *testing.T) {
	m := newMemoryOf(4 * memoryGrain)
	b, _ := m.alloc(100)
	m.release(b)
	for name, bad := range map[string][]byte{"twice": b, "foreign": make([]byte, 64), "inside": m.arena[8:16]} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			m.release(bad)
		})
	}
}

func TestHostWindow(t *testing.T) {
	bytes := []byte("0123456789")
	for _, c := range []struct {
		name   string
		window hostWindow
		off    uint64
		n      int
		write  bool
		want   string // of the error; "": allowed
	}{
		{"all", hostWindow{bytes: bytes, canRead: true}, 0, 10, false, ""},
		{"nothing at the end", hostWindow{bytes: bytes, canRead: true}, 10, 0, false, ""},
		{"nothing behind the end", hostWindow{bytes: bytes, canRead: true}, 11, 0, false, "outside the region"},
		{"one too many", hostWindow{bytes: bytes, canRead: true}, 0, 11, false, "outside the region"},
		{"sum overflows", hostWindow{bytes: bytes, canRead: true}, 1<<64 - 1, 2, false, "outside the region"},
		{"negative", hostWindow{bytes: bytes, canRead: true}, 0, -1, false, "outside the region"},
		{"write only", hostWindow{bytes: bytes, canWrite: true}, 0, 1, false, "no right to read"},
		{"read only", hostWindow{bytes: bytes, canRead: true}, 0, 1, true, "no right to write"},
		{"withdrawn", hostWindow{bytes: bytes, canRead: true, withdrawn: true}, 0, 1, false, "the region is no longer registered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			span, err := c.window.hostSpan(c.off, c.n, c.write)
			var e *DMAError
			switch {
			case c.want == "" && (err != nil || len(span) != c.n || cap(span) != c.n):
				t.Errorf("span of %d, capacity %d, error %v", len(span), cap(span), err)
			case c.want != "" && (!errors.As(err, &e) || e.Reason != c.want || e.Off != c.off || e.Len != c.n || e.Size != 10):
				t.Errorf("error %#v, want reason %q", err, c.want)
			}
		})
	}
}
