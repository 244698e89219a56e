package verbs_test

import (
	"fmt"

	"outboard/verbs"
)

// A window of type 2 lends a peer part of a region, for a while.
func ExampleMW() {
	a, b, end := connected()
	defer end()

	table := []byte("public private")
	region, err := b.ctx.RegMR(b.pd, table, verbs.LocalWrite|verbs.MWBindAccess) // which no peer can reach
	try(err)
	window, err := b.ctx.AllocMW(b.pd, verbs.MWType2)
	try(err)

	// To bind is a work request, which a real NIC does in a microsecond; to register memory is a system call. The owner chooses the
	// new key: the window's own with another lowest byte, so that keys of earlier bindings reach nothing.
	key := verbs.IncRKey(window.RKey())
	try(b.qp.PostSend(verbs.SendWR{Opcode: verbs.BindMW, Flags: verbs.Signaled,
		Bind: &verbs.MWBind{MW: window, MR: region, Buf: table[:6], Access: verbs.RemoteRead, RKey: key}}))
	fmt.Println("bind:", b.completion().Status)

	// The peer reads with address and key, which a message would bring. The window opens six bytes, to this connection only.
	word := make([]byte, 6)
	mr := a.register(word)
	read := verbs.SendWR{Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{{Buf: word, LKey: mr.LKey()}},
		RemoteAddr: verbs.AddrOf(table), RKey: key}
	try(a.qp.PostSend(read))
	fmt.Printf("read: %v, %q\n", a.completion().Status, word)

	// The owner takes it back. A peer that is done could do so itself, with a SendInv.
	try(b.qp.PostSend(verbs.SendWR{Opcode: verbs.LocalInv, Flags: verbs.Signaled, InvKey: key}))
	fmt.Println("invalidate:", b.completion().Status)

	// When that has completed, the key is no longer good: whoever uses it loses the connection.
	try(a.qp.PostSend(read))
	fmt.Println("read:", a.completion().Status)
	try(window.Dealloc())
	// Output:
	// bind: verbs: success
	// read: verbs: success, "public"
	// invalidate: verbs: success
	// read: verbs: remote access error
}
