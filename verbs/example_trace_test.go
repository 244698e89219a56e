package verbs_test

import (
	"fmt"
	"os"
	"path/filepath"

	"outboard/verbs"
)

// A trace of all packets of one side, for Wireshark.
func ExampleOptions_trace() {
	dir, err := os.MkdirTemp("", "outboard")
	try(err)
	defer os.RemoveAll(dir)
	file, err := os.Create(filepath.Join(dir, "emu0.pcapng"))
	try(err)

	a, b := openWith(verbs.Options{Trace: file}), open()
	a.connect(b.ctx.Addr(), b.qp.QPN())
	b.connect(a.ctx.Addr(), a.qp.QPN())
	table := b.register([]byte("the quick brown fox"))
	word := make([]byte, 5)
	mr := a.register(word)
	try(a.qp.PostSend(verbs.SendWR{Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{{Buf: word, LKey: mr.LKey()}},
		RemoteAddr: table.Addr() + 4, RKey: table.RKey()}))
	fmt.Printf("%v: %q\n", a.completion().Status, word)
	fmt.Println("packets sent and received:", a.ctx.HWCounters().SentPkts, a.ctx.HWCounters().RcvdPkts)

	try(a.ctx.Close()) // the trace is complete
	try(b.ctx.Close())
	try(file.Close())
	// Output:
	// verbs: success: "quick"
	// packets sent and received: 1 1
}
