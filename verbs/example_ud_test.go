package verbs_test

import (
	"fmt"

	"outboard/verbs"
)

// openUD makes a queue pair for datagrams, in RTS: there is nobody to connect it with.
func openUD(qkey uint32) *node {
	n := openDevice(verbs.Options{})
	n.createQP(verbs.UD, nil)
	a := verbs.QPAttr{Port: 1, QKey: qkey}
	a.State = verbs.Init
	try(n.qp.Modify(a, verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrQKey))
	a.State = verbs.RTR
	try(n.qp.Modify(a, verbs.AttrState))
	a.State = verbs.RTS
	try(n.qp.Modify(a, verbs.AttrState|verbs.AttrSQPSN))
	return n
}

// A server of datagrams answers whoever asks.
func ExampleContext_CreateAHFromWC() {
	const qkey = 0x1234 // a datagram with another than the receiver's is dropped
	client, server := openUD(qkey), openUD(qkey)
	defer func() { try(client.ctx.Close()); try(server.ctx.Close()) }()

	// Each receive needs 40 bytes more than the message, for the global routing header, which comes first.
	receive := func(n *node) []byte {
		box := make([]byte, verbs.GRHLen+32)
		mr := n.register(box)
		try(n.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{{Buf: box, LKey: mr.LKey()}}}))
		return box
	}
	asked, answered := receive(server), receive(client)

	// The client names the server's port by an address handle, and the queue pair in each request.
	ah, err := client.ctx.CreateAH(client.pd, verbs.AHAttr{Addr: server.ctx.Addr(), Port: 1})
	try(err)
	try(client.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Inline, SG: []verbs.SGE{{Buf: []byte("who is there?")}},
		UD: &verbs.UDDest{AH: ah, QPN: server.qp.QPN(), QKey: qkey}}))

	// The server learns whom to answer: the port from the header, the queue pair from the completion.
	wc := server.completion()
	fmt.Printf("%d bytes, of which %q\n", wc.Bytes, asked[verbs.GRHLen:wc.Bytes])
	back, err := server.ctx.CreateAHFromWC(server.pd, 1, &wc, asked[:verbs.GRHLen])
	try(err)
	try(server.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Inline, SG: []verbs.SGE{{Buf: []byte("it is me")}},
		UD: &verbs.UDDest{AH: back, QPN: wc.SrcQP, QKey: qkey}}))
	try(back.Destroy()) // what is posted goes on

	wc = client.completion()
	fmt.Printf("from the server: %v, %q\n", wc.SrcQP == server.qp.QPN(), answered[verbs.GRHLen:wc.Bytes])
	// Output:
	// 53 bytes, of which "who is there?"
	// from the server: true, "it is me"
}
