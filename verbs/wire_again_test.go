package verbs_test

import (
	"testing"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
)

// TestReadsAnsweredAgain has requests of reads repeated and reordered: answers that are due to old ones leave room for those
// to a new one, so that a requester that keeps to MAX_DEST_RD_ATOMIC is not refused.
func TestReadsAnsweredAgain(t *testing.T) {
	f := fabricUnder{name: "repeating", lossy: true, open: func(t testing.TB) fabric.Port {
		p, err := faulty.Wrap(openInproc(t), faulty.Options{Seed: lossySeed.Add(1), Drop: 0.05, Duplicate: 0.3, Reorder: 0.2})
		must(t, err)
		return p
	}}
	for range 3 {
		a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.Timeout = 13 }, nil)
		const n, size = 60, 3000
		src, dst := b.reg(t, pattern(n*size, 1), verbs.RemoteRead), a.reg(t, make([]byte, n*size), verbs.LocalWrite)
		for i := range n {
			must(t, a.qp.PostSend(verbs.SendWR{ID: uint64(i), Opcode: verbs.Read, Flags: verbs.Signaled,
				SG: []verbs.SGE{dst.part(i*size, size)}, RemoteAddr: src.Addr() + uint64(i*size), RKey: src.RKey()}))
		}
		for i := range n {
			a.expect(t, uint64(i), verbs.Success)
		}
		a.sync()
		wantBytes(t, dst.b, src.b, "memory")
	}
}
