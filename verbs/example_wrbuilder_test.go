package verbs_test

import (
	"errors"
	"fmt"

	"outboard/verbs"
)

// A list of requests by one call for each part: a WRITE, and a message that says that it is there.
func ExampleWRBuilder() {
	a, b, end := connected()
	defer end()

	page := make([]byte, 16)
	remote := b.register(page)
	try(b.qp.PostRecv(verbs.RecvWR{})) // for the message, which has no data but its immediate

	text := []byte("chapter one")
	mr := a.register(text)
	w := a.qp.Start() // to keep: a loop with one builder allocates nothing
	w.ID, w.Flags = 1, 0
	w.Write(remote.RKey(), remote.Addr()) // begins a request, with ID and Flags as they are
	w.SetSGE(verbs.SGE{Buf: text, LKey: mr.LKey()})
	w.ID, w.Flags = 2, verbs.Signaled // only the last completes, and with it all before it
	w.SendImm(uint32(len(text)))
	try(w.Complete()) // posts both, or neither

	wc := b.completion() // a queue pair keeps the order: the WRITE is there as well
	fmt.Printf("message %d: %q\n", wc.Imm, page[:wc.Imm])
	wc = a.completion()
	fmt.Println("request", wc.ID, wc.Status)

	// The calls do not fail. The first mistake is the error of Complete, with the place of the request in the list.
	w.Send()
	w.SetInline(make([]byte, 1000))
	var e *verbs.Error
	if errors.As(w.Complete(), &e) {
		fmt.Println("request", e.Index, "of the list:", e.Detail)
	}
	// Output:
	// message 11: "chapter one"
	// request 2 verbs: success
	// request 0 of the list: SetInline: 1000 bytes inline: expected at most 32
}
