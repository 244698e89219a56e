package verbs_test

import (
	"bytes"
	"os"
	"sync"
	"testing"
	"time"

	"outboard/verbs"
)

// peek copies memory behind the race detector's back, which does not see the order that comes through memory shared between processes.
func peek(t *testing.T, b []byte) []byte {
	t.Helper()
	f, err := os.Open("/proc/self/mem")
	must(t, err)
	defer f.Close()
	out := make([]byte, len(b))
	_, err = f.ReadAt(out, int64(verbs.AddrOf(b)))
	must(t, err)
	return out
}

// TestInvalidationEndsAccess invalidates a window, in several ways, while the peer writes to and reads through it without
// pause: when that is done the memory does not change any more, and what was under way has failed or is complete.
func TestInvalidationEndsAccess(t *testing.T) {
	const size = 256 << 10
	ends := map[string]func(t *testing.T, b *end, w *verbs.MW){
		"LOCAL_INV": func(t *testing.T, b *end, w *verbs.MW) {
			must(t, b.qp.PostSend(verbs.SendWR{ID: 3, Opcode: verbs.LocalInv, Flags: verbs.Signaled, InvKey: w.RKey()}))
		},
		"dealloc_mw": func(t *testing.T, b *end, w *verbs.MW) { must(t, w.Dealloc()) },
	}
	for name, stop := range ends {
		for op, tune := range map[verbs.Opcode]byte{verbs.Write: 1, verbs.Read: 2} {
			t.Run(name+"/"+op.String(), func(t *testing.T) {
				eachFabric(t, func(t *testing.T, f fabricUnder) {
					if underRace && (f.name == "shm" || f.name == "shm device memory") {
						t.Skip("the race detector does not see the hold of a key, which is in memory shared between processes")
					}
					for round := range 3 {
						r := newRig(t, f)
						a, b := r.a[0], r.b[0]
						mem := b.reg(t, pattern(size, 1), verbs.LocalWrite|verbs.MWBindAccess)
						w := b.newWindow(t, verbs.MWType2)
						key := b.binds(t, w, mem, 0, size, windowRights)
						buf := a.reg(t, pattern(size, tune+byte(round)), verbs.LocalWrite)
						var peer sync.WaitGroup
						started := make(chan bool)
						peer.Go(func() {
							for i := 0; ; i++ {
								if i == 1 {
									close(started)
								}
								if err := a.qp.PostSend(verbs.SendWR{ID: 1, Opcode: op, Flags: verbs.Signaled, SG: []verbs.SGE{buf.sge()}, RemoteAddr: mem.Addr(), RKey: key}); err != nil {
									t.Error(err)
									return
								}
								switch wc := a.wait(t); {
								case wc.Status == verbs.Success:
								case wc.Status == verbs.RemAccessErr || a.refusalLost(wc):
									return
								default:
									t.Errorf("completed with %v (%s)", wc.Status, wc.Detail)
									return
								}
							}
						})
						<-started
						time.Sleep(time.Duration(round) * 300 * time.Microsecond)
						stop(t, b, w)
						at := peek(t, mem.b)
						peer.Wait()
						b.reaches(t, verbs.Err)
						if !bytes.Equal(mem.b, at) {
							t.Error("the memory changed after the window was taken away")
						}
						must(t, mem.Rereg(verbs.ReregAccess, nil, nil, 0)) // nothing is bound or in use
						must(t, r.b[0].ctx.Close())
						must(t, r.a[0].ctx.Close())
					}
				})
			})
		}
	}
}
