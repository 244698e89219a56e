package verbs_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"

	"outboard/verbs"
)

// node is what a program has on each side of a connection.
type node struct {
	ctx *verbs.Context
	pd  *verbs.PD
	cq  *verbs.CQ
	qp  *verbs.QP
}

// open makes everything up to a queue pair in RESET.
func open() *node { return openWith(verbs.Options{}) }

func openWith(o verbs.Options) *node {
	n := openDevice(o)
	n.createQP(verbs.RC, nil)
	return n
}

// openDevice makes what does not depend on the type of the queue pair.
func openDevice(o verbs.Options) *node {
	ctx, err := verbs.Devices()[0].OpenWith(o)
	try(err)
	pd, err := ctx.AllocPD()
	try(err)
	return &node{ctx: ctx, pd: pd}
}

// createQP makes a queue pair, and a completion queue that raises events on a channel, if there is one.
func (n *node) createQP(kind verbs.QPType, ch *verbs.CompChannel) {
	var err error
	n.cq, err = n.ctx.CreateCQ(16, ch)
	try(err)
	n.qp, err = n.ctx.CreateQP(n.pd, verbs.QPInit{Type: kind, SendCQ: n.cq, RecvCQ: n.cq,
		Cap: verbs.QPCap{SendWR: 8, RecvWR: 8, SendSGE: 1, RecvSGE: 1, Inline: 32}})
	try(err)
}

// connect takes the queue pair to RTS. The peer's address and number would come from it by a socket or a launcher.
func (n *node) connect(addr string, qpn uint32) {
	a := verbs.QPAttr{Port: 1, Access: verbs.RemoteRead | verbs.RemoteWrite | verbs.RemoteAtomic, AV: addr, DestQPN: qpn,
		PathMTU: 4096, MaxRdAtomic: 4, MaxDestRdAtomic: 4, MinRNRTimer: 12, Timeout: 14, RetryCnt: 7, RNRRetry: 7}
	a.State = verbs.Init
	try(n.qp.Modify(a, verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrAccess))
	a.State = verbs.RTR
	try(n.qp.Modify(a, verbs.AttrState|verbs.AttrAV|verbs.AttrPathMTU|verbs.AttrDestQPN|verbs.AttrRQPSN|verbs.AttrMaxDestRdAtomic|verbs.AttrMinRNRTimer))
	a.State = verbs.RTS
	try(n.qp.Modify(a, verbs.AttrState|verbs.AttrSQPSN|verbs.AttrTimeout|verbs.AttrRetryCnt|verbs.AttrRNRRetry|verbs.AttrMaxRdAtomic))
}

// register registers memory with all rights.
func (n *node) register(b []byte) *verbs.MR {
	mr, err := n.ctx.RegMR(n.pd, b, verbs.LocalWrite|verbs.RemoteRead|verbs.RemoteWrite|verbs.RemoteAtomic)
	try(err)
	return mr
}

// completion waits for one.
func (n *node) completion() verbs.WC {
	var wc [1]verbs.WC
	_, err := n.cq.Wait(context.Background(), wc[:])
	try(err)
	return wc[0]
}

func try(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// connected returns two connected nodes and what closes them.
func connected() (a, b *node, end func()) {
	a, b = open(), open()
	a.connect(b.ctx.Addr(), b.qp.QPN())
	b.connect(a.ctx.Addr(), a.qp.QPN())
	return a, b, func() { try(a.ctx.Close()); try(b.ctx.Close()) }
}

// A message from one queue pair to the other.
func Example() {
	a, b, end := connected()
	defer end()

	box := make([]byte, 64)
	mr := b.register(box)
	try(b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{{Buf: box, LKey: mr.LKey()}}}))

	text := []byte("hello")
	mr = a.register(text)
	try(a.qp.PostSend(verbs.SendWR{ID: 2, Opcode: verbs.Send, Flags: verbs.Signaled, SG: []verbs.SGE{{Buf: text, LKey: mr.LKey()}}}))

	wc := b.completion()
	fmt.Printf("received %q, %v\n", box[:wc.Bytes], wc.Status)
	fmt.Printf("sent: request %d, %v\n", a.completion().ID, wc.Status)
	// Output:
	// received "hello", verbs: success
	// sent: request 2, verbs: success
}

// One side reads the other's memory, whose host takes no part.
func ExampleQP_PostSend_read() {
	a, b, end := connected()
	defer end()

	table := b.register([]byte("the quick brown fox")) // address and key would be sent to a

	word := make([]byte, 5)
	mr := a.register(word)
	try(a.qp.PostSend(verbs.SendWR{Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{{Buf: word, LKey: mr.LKey()}},
		RemoteAddr: table.Addr() + 4, RKey: table.RKey()}))
	fmt.Printf("%v: %q\n", a.completion().Status, word)

	// What lies outside the region is refused.
	try(a.qp.PostSend(verbs.SendWR{Opcode: verbs.Read, SG: []verbs.SGE{{Buf: word, LKey: mr.LKey()}},
		RemoteAddr: table.Addr() + 15, RKey: table.RKey()}))
	fmt.Println(a.completion().Status)
	// Output:
	// verbs: success: "quick"
	// verbs: remote access error
}

// A counter in one side's memory, incremented by the other.
func ExampleQP_PostSend_atomic() {
	a, b, end := connected()
	defer end()

	counter := []uint64{40}
	remote := b.register(verbs.Bytes(counter))

	before := make([]byte, 8)
	mr := a.register(before)
	for range 2 {
		try(a.qp.PostSend(verbs.SendWR{Opcode: verbs.FetchAdd, Flags: verbs.Signaled, Add: 1, SG: []verbs.SGE{{Buf: before, LKey: mr.LKey()}},
			RemoteAddr: remote.Addr(), RKey: remote.RKey()}))
		fmt.Println(a.completion().Status, binary.NativeEndian.Uint64(before))
	}
	fmt.Println(counter[0])
	// Output:
	// verbs: success 40
	// verbs: success 41
	// 42
}
