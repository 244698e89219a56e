package shm

import (
	"testing"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
)

type sink struct {
	n    int
	last uint64
}

func (s *sink) Packet(_ uint32, h *fabric.Header, b []byte) bool {
	s.n++
	s.last = h.Addr
	return true
}
func (s *sink) Knock(ep int)             {}
func (s *sink) Down(c uint32, err error) { println("down", err.Error()) }

func pair(t testing.TB, name string) (a, b fabric.Port, ca, cb fabric.Conn) {
	var err error
	must := func() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if name == "shm" {
		a, err = Open(Options{})
		must()
		b, err = Open(Options{})
		must()
	} else {
		s := inproc.New()
		a, err = s.Open(inproc.Options{})
		must()
		b, err = s.Open(inproc.Options{})
		must()
	}
	ca, err = a.Open(fabric.Any, 1)
	must()
	cb, err = b.Open(fabric.Any, 1)
	must()
	err = ca.Connect(b.Addr(), cb.Endpoint())
	must()
	err = cb.Connect(a.Addr(), ca.Endpoint())
	must()
	t.Cleanup(func() { a.Close(); b.Close() })
	return
}

func BenchmarkSmoke(b *testing.B) {
	for _, name := range []string{"shm", "inproc"} {
		b.Run(name+"/same", func(b *testing.B) {
			_, pb, ca, _ := pair(b, name)
			s := &sink{}
			h := &fabric.Header{Op: 1}
			x := make([]byte, 16)
			y := make([]byte, 8)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				h.Addr = uint64(i)
				if !ca.Send(h, x, y) {
					b.Fatal("full")
				}
				if pb.Poll(s, 1) != 1 {
					b.Fatal("none")
				}
			}
		})
		b.Run(name+"/empty", func(b *testing.B) {
			pa, _, _, _ := pair(b, name)
			s := &sink{}
			for range b.N {
				pa.Poll(s, 1)
			}
		})
		b.Run(name+"/pingpong", func(b *testing.B) {
			pa, pb, ca, cb := pair(b, name)
			go func() {
				s := &sink{}
				h := &fabric.Header{}
				x := make([]byte, 8)
				for i := 1; i <= b.N; i++ {
					for s.n < i {
						pb.Poll(s, 16)
					}
					cb.Send(h, x, nil)
				}
			}()
			s := &sink{}
			h := &fabric.Header{}
			x := make([]byte, 8)
			b.ResetTimer()
			for i := 1; i <= b.N; i++ {
				ca.Send(h, x, nil)
				for s.n < i {
					pa.Poll(s, 16)
				}
			}
		})
	}
}

func TestPair(t *testing.T) {
	for _, name := range []string{"shm", "inproc"} {
		t.Run(name, func(t *testing.T) {
			_, pb, ca, _ := pair(t, name)
			s := &sink{}
			for i := range 1000 {
				if !ca.Send(&fabric.Header{Addr: uint64(i)}, make([]byte, i), nil) {
					t.Fatalf("send %d: no room", i)
				}
				if n := pb.Poll(s, 4); n != 1 || s.last != uint64(i) {
					t.Fatalf("poll %d: %d packets, last %d", i, n, s.last)
				}
			}
		})
	}
}
