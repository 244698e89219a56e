package verbs_test

import (
	"testing"

	"outboard/verbs"
)

func TestSendRecv(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			a, b := pair(t, f)
			buf := make([]byte, 5000)
			mr, err := b.ctx.RegMR(b.pd, buf, verbs.LocalWrite)
			must(t, err)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 7, SG: []verbs.SGE{{Buf: buf, LKey: mr.LKey()}}}))
			src := make([]byte, 3000)
			for i := range src {
				src[i] = byte(i * 7)
			}
			smr, err := a.ctx.RegMR(a.pd, src, 0)
			must(t, err)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 3, Opcode: verbs.SendImm, Flags: verbs.Signaled, Imm: 42, SG: []verbs.SGE{{Buf: src, LKey: smr.LKey()}}}))
			wc := b.wait(t)
			if wc.Status != verbs.Success || wc.ID != 7 || wc.Bytes != 3000 || wc.Imm != 42 {
				t.Fatalf("receive completed with %+v", wc)
			}
			for i := range src {
				if buf[i] != src[i] {
					t.Fatalf("byte %d", i)
				}
			}
			if wc := a.wait(t); wc.Status != verbs.Success || wc.ID != 3 {
				t.Fatalf("send completed with %+v", wc)
			}
			// one-sided
			rmr, err := b.ctx.RegMR(b.pd, buf, allRights)
			must(t, err)
			back := make([]byte, 3000)
			bmr, err := a.ctx.RegMR(a.pd, back, verbs.LocalWrite)
			must(t, err)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 4, Opcode: verbs.Read, Flags: verbs.Signaled, RemoteAddr: rmr.Addr(), RKey: rmr.RKey(), SG: []verbs.SGE{{Buf: back, LKey: bmr.LKey()}}}))
			if wc := a.wait(t); wc.Status != verbs.Success || back[2999] != src[2999] {
				t.Fatalf("read completed with %+v", wc)
			}
			must(t, a.qp.PostSend(verbs.SendWR{ID: 5, Opcode: verbs.FetchAdd, Add: 1, Flags: verbs.Signaled, RemoteAddr: rmr.Addr(), RKey: rmr.RKey(), SG: []verbs.SGE{{Buf: back[:8], LKey: bmr.LKey()}}}))
			if wc := a.wait(t); wc.Status != verbs.Success {
				t.Fatalf("atomic completed with %+v", wc)
			}
			must(t, a.qp.PostSend(verbs.SendWR{ID: 6, Opcode: verbs.Write, Flags: verbs.Signaled, RemoteAddr: rmr.Addr(), RKey: rmr.RKey() ^ 1, SG: []verbs.SGE{{Buf: back[:8], LKey: bmr.LKey()}}}))
			if wc := a.wait(t); wc.Status != verbs.RemAccessErr {
				t.Fatalf("bad key completed with %+v", wc)
			}
		})
	}
}
