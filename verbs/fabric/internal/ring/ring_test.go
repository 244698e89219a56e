package ring

import (
	"bytes"
	"encoding/binary"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"outboard/verbs/fabric"
)

var small = Geometry{Slots: 8, Bulk: 1024, MTU: 256}

func TestGeometry(t *testing.T) {
	for _, test := range []struct {
		name string
		g    Geometry
		want string // part of the error
	}{
		{"smallest", Geometry{8, 512, 96}, ""},
		{"usual", Geometry{128, 128 << 10, 16 << 10}, ""},
		{"largest MTU", Geometry{64, 1 << 20, 1 << 18}, ""},
		{"no slots", Geometry{0, 512, 96}, "0 slots"},
		{"four slots", Geometry{4, 512, 96}, "4 slots"},
		{"odd slots", Geometry{12, 512, 96}, "12 slots"},
		{"negative slots", Geometry{-8, 512, 96}, "-8 slots"},
		{"many slots", Geometry{1 << 30, 512, 96}, "slots"},
		{"no bulk", Geometry{8, 0, 96}, "0 bytes"},
		{"odd bulk", Geometry{8, 1000, 96}, "1000 bytes"},
		{"smallest int", Geometry{8, math.MinInt, 96}, "bulk"},
		{"huge bulk", Geometry{8, 1 << 40, 96}, "bulk"},
		{"MTU below Inline", Geometry{8, 512, 95}, "95"},
		{"MTU above a quarter", Geometry{8, 512, 129}, "129"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.g.Check()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if err == nil && test.g.Size()%Align != 0 {
				t.Fatalf("size %d", test.g.Size())
			}
		})
	}
}

func TestFirstWindow(t *testing.T) {
	for _, test := range []struct {
		name string
		g    Geometry
		want int
	}{
		{"smallest", Geometry{8, 512, 96}, 512},
		{"all of a small area", Geometry{8, 1024, 256}, 1024},
		{"part of a large one", Geometry{128, 2 << 20, 16 << 10}, 64 << 10},
		{"odd MTU", Geometry{128, 2 << 20, 16<<10 + 1}, 128 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			if w := test.g.window(); w != test.want {
				t.Errorf("window of %d bytes, want %d", w, test.want)
			}
		})
	}
}

// ends returns the two ends of a new ring whose next packet has the number pos.
func ends(g Geometry, pos uint64) (*Sender, *Receiver) { return endsOf(New(g), pos) }

// shared makes a ring in one piece of memory, as processes share it.
func shared(g Geometry) Ring {
	mem := make([]byte, g.Size()+Align)
	return At(unsafe.Pointer(&mem[-uintptr(unsafe.Pointer(&mem[0]))&(Align-1)]), g)
}

func endsOf(r Ring, pos uint64) (*Sender, *Receiver) {
	s, v := NewSender(r), NewReceiver(r)
	s.head, s.tail = pos, pos
	v.pos, v.published, v.want = pos, pos, uint32(pos+1)
	v.at = pos * SlotLen & v.mask
	r.ctl.tail.Store(pos)
	return &s, &v
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i)*7
	}
	return b
}

// The positions in the words are 32 bits wide. Nothing happens where they wrap.
func TestWrap(t *testing.T) {
	for _, start := range []uint64{0, 1<<32 - 20, 1<<33 - 20, math.MaxUint64 - 20} {
		s, v := ends(small, start)
		for i := range 100 {
			h := fabric.Header{PSN: uint32(i)}
			data := pattern(i*3%257, byte(i))
			if _, st := v.Peek(&h); st != Empty {
				t.Fatalf("from %d: status %d before packet %d", start, st, i)
			}
			if !s.Put(&h, data[:len(data)/2], data[len(data)/2:]) {
				t.Fatalf("from %d: no room for packet %d", start, i)
			}
			var got fabric.Header
			b, st := v.Peek(&got)
			if st != Packet || got != h || !bytes.Equal(b, data) {
				t.Fatalf("from %d: packet %d: status %d, %+v, %d bytes", start, i, st, got, len(b))
			}
			v.Release(i%3 == 0)
		}
	}
}

// A ring with random geometry does what a queue does, as long as the sender asks for no more than the
// ring promises.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := Geometry{Slots: 8 << rapid.IntRange(0, 3).Draw(t, "slots"), Bulk: 512 << rapid.IntRange(0, 3).Draw(t, "bulk")}
		g.MTU = rapid.IntRange(Inline, g.Bulk/4).Draw(t, "mtu")
		s, v := ends(g, 0)
		var queue [][]byte
		sent, seen := uint64(0), uint64(0)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "send") {
				a := pattern(rapid.IntRange(0, g.MTU).Draw(t, "a"), byte(sent))
				b := pattern(rapid.IntRange(0, g.MTU-len(a)).Draw(t, "b"), byte(sent+9))
				if s.Put(&fabric.Header{Addr: sent}, a, b) {
					sent++
					queue = append(queue, append(a, b...))
				} else if len(queue) == 0 {
					t.Fatalf("no room for %d bytes though all is released", len(a)+len(b))
				}
				if len(queue) > g.Slots {
					t.Fatalf("%d packets in %d slots", len(queue), g.Slots)
				}
				continue
			}
			var h fabric.Header
			b, st := v.Peek(&h)
			if (st == Packet) != (len(queue) > 0) || st == Corrupt || v.Ready() != (st == Packet) || v.Status() != st {
				t.Fatalf("status %d with %d packets", st, len(queue))
			}
			if st == Empty {
				continue
			}
			if h.Addr != seen || !bytes.Equal(b, queue[0]) {
				t.Fatalf("packet %d of %d bytes, want %d of %d", h.Addr, len(b), seen, len(queue[0]))
			}
			if rapid.Bool().Draw(t, "take") {
				queue, seen = queue[1:], seen+1
				now := rapid.Bool().Draw(t, "now")
				v.Release(now)
				if a := s.Acked(); a > seen || now && a != seen {
					t.Fatalf("acked %d, released %d, now %v", a, seen, now)
				}
			}
		}
		if s.Sent() != sent {
			t.Fatalf("sent %d, want %d", s.Sent(), sent)
		}
	})
}

// A window that is doubled while packets are in flight does what a queue does, and all who are in flight fit in it.
func TestWideningModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := Geometry{Slots: 8 << rapid.IntRange(0, 3).Draw(t, "slots"), MTU: rapid.IntRange(Inline, 256).Draw(t, "mtu")}
		g.Bulk = g.window() << rapid.IntRange(0, 3).Draw(t, "doublings")
		s, v := endsOf(rapid.SampledFrom([]func(Geometry) Ring{New, shared}).Draw(t, "memory")(g), 0)
		depth := rapid.IntRange(1, g.Slots).Draw(t, "depth")
		var queue [][]byte
		next, seen := 0, 0
		for next < 1000 {
			n := rapid.IntRange(g.MTU/2, g.MTU).Draw(t, "bytes")
			for range rapid.IntRange(1, depth).Draw(t, "burst") {
				p := pattern(n, byte(next))
				if !s.Put(&fabric.Header{Addr: uint64(next)}, p, nil) {
					break
				}
				next++
				queue = append(queue, p)
			}
			if len(queue) == 0 {
				t.Fatalf("no room for %d bytes in a window of %d though all is released", n, s.window)
			}
			for range rapid.IntRange(0, len(queue)).Draw(t, "take") {
				var h fabric.Header
				b, st := v.Peek(&h)
				if st != Packet || h.Addr != uint64(seen) || !bytes.Equal(b, queue[0]) {
					t.Fatalf("status %d, packet %d of %d bytes, want %d of %d, window %d", st, h.Addr, len(b), seen, len(queue[0]), s.window)
				}
				queue, seen = queue[1:], seen+1
				v.Release(false)
			}
		}
		if s.window > uint64(g.Bulk) || 4*uint64(v.bulkBatch) > s.window {
			t.Fatalf("window %d of %d bytes, %d may stay unpublished", s.window, g.Bulk, v.bulkBatch)
		}
	})
}

// The memory that a lane touches is a small part of what it has carried, and a stream comes to use all of it.
func TestWindowFollowsTraffic(t *testing.T) {
	g := Geometry{Slots: 8, Bulk: 16 << 10, MTU: 128}
	s, v := endsOf(shared(g), 0)
	var h fabric.Header
	touched, carried := 0, 0
	for touched < g.Bulk {
		if !s.Put(&h, pattern(g.MTU, 1), nil) {
			t.Fatal("no room")
		}
		b, _ := v.Peek(&h)
		touched = max(touched, int(uintptr(unsafe.Pointer(&b[0]))-uintptr(v.ring.bulk))+len(b))
		v.Release(true)
		carried += g.MTU
		if touched > max(g.window(), 2*carried/widenAfter+g.MTU) {
			t.Fatalf("%d bytes touched, %d carried", touched, carried)
		}
		if carried > 4*widenAfter*g.Bulk {
			t.Fatalf("%d of %d bytes in use, %d carried", touched, g.Bulk, carried)
		}
	}
	if want := uint32(g.Bulk / 4); v.bulkBatch != want {
		t.Errorf("the receiver publishes %d bytes at a time, want %d", v.bulkBatch, want)
	}
}

// What a sender that breaks the rules can say of memory that grows: nothing lies where there is none yet, or across two areas.
func TestCorruptExtension(t *testing.T) {
	g := Geometry{Slots: 8, Bulk: 4096, MTU: 128}
	for _, test := range []struct {
		name string
		off  uint32
		want Status
	}{
		{"first window", 512 - 128, Packet},
		{"across its end", 512 - 127, Corrupt},
		{"second area", 1024 - 128, Packet},
		{"across its end, too", 1024 - 127, Corrupt},
		{"an area that is not there", 1024, Corrupt},
		{"the end of the ring", 4096 - 128, Corrupt},
		{"past it", 4096, Corrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, v := ends(g, 0)
			s.ring.extend(512)
			var h fabric.Header
			sl := v.next()
			binary.NativeEndian.PutUint32(sl.data[:], test.off)
			sl.word.Store(1<<32 | bulkFlag | 128)
			if _, st := v.Peek(&h); st != test.want {
				t.Fatalf("status %d, want %d", st, test.want)
			}
		})
	}
}

// A stream between two goroutines, for the race detector.
func TestConcurrent(t *testing.T) {
	const n = 20000
	s, v := ends(Geometry{Slots: 8, Bulk: 8 << 10, MTU: 256}, 0)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			for !s.Put(&fabric.Header{PSN: uint32(i)}, pattern(i%200, byte(i)), nil) {
				runtime.Gosched()
			}
		}
	})
	for i := range n {
		var h fabric.Header
		b, st := v.Peek(&h)
		for ; st == Empty; b, st = v.Peek(&h) {
			runtime.Gosched()
		}
		if st != Packet || h.PSN != uint32(i) || !bytes.Equal(b, pattern(i%200, byte(i))) {
			t.Fatalf("packet %d: status %d, %+v", i, st, h)
		}
		v.Release(false)
	}
	wg.Wait()
}

// What a sender that breaks the rules can write.
func TestCorrupt(t *testing.T) {
	word := func(tag, low uint32) uint64 { return uint64(tag)<<32 | uint64(low) }
	for _, test := range []struct {
		name string
		word uint64 // for packet 8, the first of the second lap
		off  uint32
		want Status
	}{
		{"nothing", 0, 0, Empty},
		{"last lap", word(1, 5), 0, Empty},
		{"packet", word(9, 5), 0, Packet},
		{"bulk packet", word(9, bulkFlag|256), 1024 - 256, Packet},
		{"earlier", word(8, 5), 0, Corrupt},
		{"later", word(10, 5), 0, Corrupt},
		{"next lap", word(17, 5), 0, Corrupt},
		{"no tag", word(0, 5), 0, Corrupt},
		{"long inline", word(9, Inline+1), 0, Corrupt},
		{"longest inline", word(9, bulkFlag-1), 0, Corrupt},
		{"bulk above MTU", word(9, bulkFlag|257), 0, Corrupt},
		{"longest bulk", word(9, math.MaxUint32), 0, Corrupt},
		{"offset past the end", word(9, bulkFlag|1), 1024, Corrupt},
		{"largest offset", word(9, bulkFlag|200), math.MaxUint32, Corrupt},
		{"across the end", word(9, bulkFlag|256), 1024 - 255, Corrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, v := ends(small, 0)
			var h fabric.Header
			for range 8 {
				s.Put(&h, nil, nil)
				v.Peek(&h)
				v.Release(true)
			}
			sl := v.next()
			binary.NativeEndian.PutUint32(sl.data[:], test.off)
			sl.word.Store(test.word)
			if _, st := v.Peek(&h); st != test.want {
				t.Fatalf("status %d, want %d", st, test.want)
			}
			if test.want == Corrupt && !strings.Contains(v.Fault().Error(), "packet 8") {
				t.Fatalf("fault %v", v.Fault())
			}
		})
	}
}

// A receiver that breaks the rules can't make the sender take back more than it sent.
func TestHostileTail(t *testing.T) {
	s, v := ends(small, 0)
	for range 5 {
		s.Put(&fabric.Header{}, make([]byte, 100), nil)
	}
	for _, tail := range []uint64{6, 100, 1 << 32, math.MaxUint64, 0} {
		v.ring.ctl.tail.Store(tail)
		if a := s.Acked(); a != 0 {
			t.Fatalf("acked %d after tail %d", a, tail)
		}
	}
	v.ring.ctl.tail.Store(3)
	if a := s.Acked(); a != 3 {
		t.Fatalf("acked %d, want 3", a)
	}
	v.ring.ctl.tail.Store(1) // back
	if a := s.Acked(); a != 3 {
		t.Fatalf("acked %d, want 3", a)
	}
}

// FuzzMemory lets both ends work on a ring that somebody else writes to: nothing panics, and no
// payload lies outside of the ring.
func FuzzMemory(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3})
	f.Add(bytes.Repeat([]byte{1, 4, 0xff, 0x80, 9, 0}, 50))
	f.Fuzz(func(t *testing.T, program []byte) {
		r := New(small)
		s, v := NewSender(r), NewReceiver(r)
		mem := unsafe.Slice((*byte)(unsafe.Pointer(r.ctl)), small.Size())
		from := uintptr(unsafe.Pointer(&mem[0]))
		var h fabric.Header
		for len(program) >= 4 {
			op, at, val := program[0], int(binary.LittleEndian.Uint16(program[1:])), program[3]
			program = program[4:]
			switch op % 8 {
			case 0:
				mem[at%len(mem)] = val
			case 1: // the word of the next packet, where it hurts most
				v.next().word.Store(uint64(v.want)<<32 | uint64(at)<<16 | uint64(val))
			case 2:
				s.Put(&h, make([]byte, at%300), nil)
			case 3:
				b, st := v.Peek(&h)
				if st != Packet {
					continue
				}
				if p := uintptr(unsafe.Pointer(unsafe.SliceData(b))); p < from || p+uintptr(len(b)) > from+uintptr(len(mem)) {
					t.Fatalf("payload of %d bytes at %d of %d", len(b), p-from, len(mem))
				}
				v.Release(val&1 == 0)
			case 4:
				s.Acked()
				r.Grant()
			case 5:
				_ = r.Origin()
				r.Waiting()
				r.Sender()
			case 6:
				r.Open(val&1 == 0)
				r.Retire(val&2 == 0)
			case 7:
				r.Claim(uint32(val))
				r.Finish()
				r.Recover()
			}
		}
	})
}
