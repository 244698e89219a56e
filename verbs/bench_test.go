package verbs_test

import (
	"testing"

	"outboard/verbs"
)

// catcher is a sink that counts messages.
type catcher struct{ n int }

func (c *catcher) Packet(*verbs.Packet) bool { c.n++; return true }
func (c *catcher) Down(int32, error)         {}

// enginePair connects two queue pairs with sinks, as the NIC-resident runtime has them.
func enginePair(b testing.TB, f fabricUnder) (x, y verbs.Engine, qx, qy *verbs.QP, sx, sy *catcher) {
	make1 := func() (*end, *catcher) {
		ctx, err := verbs.Open(f.open(b))
		must(b, err)
		b.Cleanup(func() { ctx.Close() })
		e := &end{ctx: ctx}
		e.pd, err = ctx.AllocPD()
		must(b, err)
		e.cq, err = ctx.CreateCQ(256, nil)
		must(b, err)
		s := &catcher{}
		ctx.Engine().Lock()
		e.qp, err = ctx.Engine().CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq, Sink: s, Cap: verbs.QPCap{SendWR: 64, SendSGE: 2}}, 0)
		ctx.Engine().Unlock()
		must(b, err)
		return e, s
	}
	e1, s1 := make1()
	e2, s2 := make1()
	e1.connect(b, e2)
	e2.connect(b, e1)
	return e1.ctx.Engine(), e2.ctx.Engine(), e1.qp, e2.qp, s1, s2
}

// BenchmarkSendNow is an 8-byte message from one NIC to another and its arrival, one thread.
func BenchmarkSendNow(b *testing.B) {
	for _, f := range plainFabrics {
		b.Run(f.name, func(b *testing.B) {
			x, y, qx, _, _, sy := enginePair(b, f)
			hdr, data := make([]byte, 16), make([]byte, 8)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 1; i <= b.N; i++ {
				x.Lock()
				ok := x.SendNow(qx, hdr, data)
				x.Unlock()
				for ok && sy.n < i {
					y.Lock()
					y.Poll()
					y.Unlock()
				}
				if !ok {
					b.Fatal("no room")
				}
			}
		})
	}
}

// BenchmarkPingPong is an 8-byte message there and back between two goroutines.
func BenchmarkPingPong(b *testing.B) {
	for _, f := range plainFabrics {
		b.Run(f.name, func(b *testing.B) {
			x, y, qx, qy, sx, sy := enginePair(b, f)
			side := func(e verbs.Engine, q *verbs.QP, s *catcher, first bool) {
				hdr, data := make([]byte, 16), make([]byte, 8)
				send := func() {
					e.Lock()
					e.SendNow(q, hdr, data)
					e.Unlock()
				}
				for i := 1; i <= b.N; i++ {
					if first {
						send()
					}
					e.Lock()
					for s.n < i {
						e.Poll()
					}
					e.Unlock()
					if !first {
						send()
					}
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			go side(y, qy, sy, false)
			side(x, qx, sx, true)
		})
	}
}

// BenchmarkPost is a signaled 8-byte SEND through the host's calls.
func BenchmarkPost(b *testing.B) {
	for _, f := range plainFabrics {
		b.Run(f.name, func(b *testing.B) {
			x, y := pair(b, f)
			src, dst := x.reg(b, make([]byte, 8), 0), y.reg(b, make([]byte, 8), verbs.LocalWrite)
			var wc [1]verbs.WC
			take := func(e *end) {
				for {
					n, err := e.cq.Poll(wc[:])
					if err != nil {
						b.Fatal(err)
					}
					if n == 1 {
						return
					}
				}
			}
			rwr := verbs.RecvWR{SG: []verbs.SGE{dst.sge()}}
			swr := verbs.SendWR{Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				must(b, y.qp.PostRecv(rwr))
				must(b, x.qp.PostSend(swr))
				take(y)
				take(x)
			}
		})
	}
}

// BenchmarkWriteDirect is a signaled 8-byte RDMA WRITE into a peer of the same process.
func BenchmarkWriteDirect(b *testing.B) {
	for _, f := range plainFabrics {
		b.Run(f.name, func(b *testing.B) {
			x, y := pair(b, f)
			src, dst := x.reg(b, make([]byte, 8), 0), y.reg(b, make([]byte, 8), allRights)
			var wc [1]verbs.WC
			wr := verbs.SendWR{Opcode: verbs.Write, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, RemoteAddr: dst.Addr(), RKey: dst.RKey()}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				must(b, x.qp.PostSend(wr))
				if n, err := x.cq.Poll(wc[:]); n != 1 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
