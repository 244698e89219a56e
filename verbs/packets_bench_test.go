package verbs_test

import (
	"fmt"
	"testing"

	"outboard/verbs"
)

// packetOps are operations between two queue pairs that talk in packets, with n bytes.
func packetOps(t testing.TB, n int) map[string]func() {
	f := fabricUnder{name: "IBTA packets", open: openInproc, opts: verbs.Options{Packets: true}}
	a, b := pair(t, f)
	src, dst, in := a.reg(t, make([]byte, n), 0), b.reg(t, make([]byte, n), allRights), a.reg(t, make([]byte, n), verbs.LocalWrite)
	wr := func(op verbs.Opcode, r region) verbs.SendWR {
		return verbs.SendWR{Opcode: op, Flags: verbs.Signaled, SG: []verbs.SGE{r.sge()}, RemoteAddr: dst.Addr(), RKey: dst.RKey()}
	}
	send, write, read := wr(verbs.Send, src), wr(verbs.Write, src), wr(verbs.Read, in)
	recv := verbs.RecvWR{SG: []verbs.SGE{dst.sge()}}
	var wc [2]verbs.WC
	run := func(wr *verbs.SendWR) {
		must(t, a.qp.PostSend(*wr))
		for {
			b.cq.Poll(wc[:])
			if n, err := a.cq.Poll(wc[:]); n > 0 || err != nil {
				if wc[0].Status != verbs.Success {
					t.Fatal(wc[0].Status, err)
				}
				return
			}
		}
	}
	return map[string]func(){
		"SEND": func() {
			must(t, b.qp.PostRecv(recv))
			run(&send)
		},
		"WRITE": func() { run(&write) },
		"READ":  func() { run(&read) },
	}
}

func TestPacketsDoNotAllocate(t *testing.T) {
	for _, n := range []int{8, 5000} {
		for name, run := range packetOps(t, n) {
			if n := testing.AllocsPerRun(200, run); n > 0.5 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	}
}

// BenchmarkPackets is an operation between two queue pairs that talk in packets, one thread.
func BenchmarkPackets(b *testing.B) {
	for _, n := range []int{8, 4096, 64 << 10} {
		for name, run := range packetOps(b, n) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					run()
				}
			})
		}
	}
}
