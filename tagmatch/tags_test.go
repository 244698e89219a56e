package tagmatch

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs"
	"outboard/verbs/fabric/inproc"
)

// TestTagsLikePlainList runs random programs on both lists and holds their answers against each other. Masks come and go: more than there
// are engines, and masks that leave tags unmatchable.
func TestTagsLikePlainList(t *testing.T) {
	masks := []uint64{^uint64(0), 0, 0xff, 0xff << 31, 1 << 63, ^uint64(0xff), 0xffff}
	bits := []uint64{0, 1, 2, 1 << 31, 1 << 32, 1<<63 | 1}
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		lists := [2]verbs.TagList{NewTags(limit), verbs.NewTagList(limit)}
		var handles [2][]uint32 // by entry
		entry := func(i int, h uint32) int {
			for k := len(handles[i]) - 1; k >= 0; k-- {
				if handles[i][k] == h {
					return k
				}
			}
			return -1
		}
		usable := rapid.IntRange(1, len(masks)).Draw(t, "masks")
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			tag := rapid.SampledFrom(bits).Draw(t, "tag")
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				mask := rapid.SampledFrom(masks[:usable]).Draw(t, "mask")
				if rapid.IntRange(0, 9).Draw(t, "matchable") > 0 {
					tag &= mask
				}
				h0, ok0 := lists[0].Add(tag, mask)
				h1, ok1 := lists[1].Add(tag, mask)
				if ok0 != ok1 {
					t.Fatalf("Add(%#x, %#x): %v, want %v", tag, mask, ok0, ok1)
				}
				if ok0 {
					handles[0], handles[1] = append(handles[0], h0), append(handles[1], h1)
				}
			case 2, 3:
				h0, ok0 := lists[0].Match(tag)
				h1, ok1 := lists[1].Match(tag)
				if ok0 != ok1 || ok0 && entry(0, h0) != entry(1, h1) {
					t.Fatalf("Match(%#x): entry %d, %v, want %d, %v", tag, entry(0, h0), ok0, entry(1, h1), ok1)
				}
			case 4:
				if len(handles[0]) == 0 {
					continue
				}
				k := rapid.IntRange(0, len(handles[0])-1).Draw(t, "entry")
				if entry(0, handles[0][k]) != k || entry(1, handles[1][k]) != k {
					continue // the handle has been given again
				}
				if ok0, ok1 := lists[0].Del(handles[0][k]), lists[1].Del(handles[1][k]); ok0 != ok1 {
					t.Fatalf("Del of entry %d: %v, want %v", k, ok0, ok1)
				}
			}
			if lists[0].Len() != lists[1].Len() {
				t.Fatalf("%d entries, want %d", lists[0].Len(), lists[1].Len())
			}
		}
	})
}

func TestTagsBadHandles(t *testing.T) {
	l := NewTags(2)
	h, _ := l.Add(1, 1)
	for _, bad := range []uint32{0, h + 1, 1 << 31} {
		if l.Del(bad) {
			t.Errorf("Del(%d) of a list with entry %d: true", bad, h)
		}
	}
	if !l.Del(h) || l.Del(h) {
		t.Error("Del twice of one entry is not true, then false")
	}
}

// BenchmarkTags matches the last of many entries.
func BenchmarkTags(b *testing.B) {
	for _, tt := range []struct {
		name string
		make func(int) verbs.TagList
	}{{"Tags", func(n int) verbs.TagList { return NewTags(n) }}, {"plain", verbs.NewTagList}} {
		b.Run(tt.name, func(b *testing.B) {
			const n = 1000
			l := tt.make(n)
			for i := range uint64(n) {
				l.Add(i, ^uint64(0))
			}
			b.ReportAllocs()
			for b.Loop() {
				l.Match(n - 1)
				l.Add(n-1, ^uint64(0))
			}
		})
	}
}

// TestTagsServeTheNIC has the list match real messages in a shared receive queue.
func TestTagsServeTheNIC(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sw := inproc.New()
	var qps [2]*verbs.QP
	var cqs [2]*verbs.CQ
	var ctxs [2]*verbs.Context
	var srq *verbs.SRQ
	mem := make([]byte, 1000)
	var mr *verbs.MR
	for i := range qps {
		port, err := sw.Open(inproc.Options{})
		must(err)
		ctxs[i], err = verbs.Open(port)
		must(err)
		defer ctxs[i].Close()
		pd, err := ctxs[i].AllocPD()
		must(err)
		cqs[i], err = ctxs[i].CreateCQ(64, nil)
		must(err)
		in := verbs.QPInit{SendCQ: cqs[i], RecvCQ: cqs[i], Cap: verbs.QPCap{SendWR: 16, SendSGE: 1, Inline: 64}}
		if i == 1 {
			srq, err = ctxs[i].CreateSRQ(pd, verbs.SRQInit{MaxWR: 1, MaxSGE: 1, TM: &verbs.TMInit{MaxTags: 10, MaxOps: 10, CQ: cqs[i], List: NewTags(10)}})
			must(err)
			mr, err = ctxs[i].RegMR(pd, mem, verbs.LocalWrite)
			must(err)
			in.SRQ = srq
		}
		qps[i], err = ctxs[i].CreateQP(pd, in)
		must(err)
	}
	for i, q := range qps {
		a := verbs.QPAttr{Port: 1, AV: ctxs[1-i].Addr(), PathMTU: 1024, DestQPN: qps[1-i].QPN(), RNRRetry: 7, Timeout: 14, RetryCnt: 7, MinRNRTimer: 1}
		for _, s := range []struct {
			to   verbs.State
			mask verbs.AttrMask
		}{
			{verbs.Init, verbs.AttrState | verbs.AttrPKeyIndex | verbs.AttrPort | verbs.AttrAccess},
			{verbs.RTR, verbs.AttrState | verbs.AttrAV | verbs.AttrPathMTU | verbs.AttrDestQPN | verbs.AttrRQPSN | verbs.AttrMaxDestRdAtomic | verbs.AttrMinRNRTimer},
			{verbs.RTS, verbs.AttrState | verbs.AttrSQPSN | verbs.AttrTimeout | verbs.AttrRetryCnt | verbs.AttrRNRRetry | verbs.AttrMaxRdAtomic},
		} {
			a.State = s.to
			must(q.Modify(a, s.mask))
		}
	}
	for i, tag := range []uint64{0x100, 0x200, 0x300} {
		must(srq.PostOps(&verbs.TMOp{Kind: verbs.TagAdd, RecvWRID: uint64(i), Tag: tag, Mask: 0xff00, SG: []verbs.SGE{{Buf: mem[i*10:][:10], LKey: mr.LKey()}}}))
	}
	for i, tag := range []uint64{0x3aa, 0x1bb, 0x2cc} {
		msg := append(verbs.TMH{Opcode: verbs.TMEager, Tag: tag}.AppendTo(nil), "message"...)
		must(qps[0].PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Inline, SG: []verbs.SGE{{Buf: msg}}}))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var wc [1]verbs.WC
		_, err := cqs[1].Wait(ctx, wc[:])
		must(err)
		want := tag>>8 - 1
		if wc[0].ID != want || wc[0].TM.Tag != tag || string(mem[want*10:][:7]) != "message" {
			t.Errorf("message %d: completion %+v, buffer %q, want request %d", i, wc[0], mem[want*10:][:7], want)
		}
	}
}
