package nicrt

import "fmt"

// maxRequests bounds what a NIC has under way when it is given one more message to post: a host that has that many
// does not wait for any.
const maxRequests = 1 << 16

// Post sends a message of any length to a program on a peer, or on this NIC itself: a header and a payload, which
// the wire carries in as many packets as it takes. Messages to one peer arrive in the order of Send
// and Post, each as a whole.
//
// The payload is the NIC's until done; then it may be used again, which says that the message is on its way, and not that
// a handler has seen it. done may be finished when Post returns. Its error is a *PeerError if the
// peer is lost, or ErrClosed. A program that does not
// take its packets (see Retry, and Account.Refused) holds up the message and those behind it.
//
// The error of Post itself says that nothing was sent: an *ArgumentError, a *PeerError or ErrClosed. done is untouched then. The caller
// holds the lock.
func (n *NIC) Post(peer int, h *Header, payload []byte, done *Completion) error {
	if err := n.postable(peer, done); err != nil {
		return err
	}
	done.begin()
	if len(payload) <= n.eagerMax && n.Send(peer, h, payload) {
		done.finish(nil)
		n.Completed()
		return nil
	}
	t := &n.requests
	i := t.take(request{sent: done, peer: int32(peer), data: payload})
	r := &t.all[i]
	if r.hdr == nil {
		r.hdr = new([HeaderLen]byte)
	}
	h.Encode(r.hdr[:])
	n.sent.messages++
	n.sent.bytes += uint64(len(payload))
	n.enter(i)
	n.collect(i)
	if r := &t.all[i]; r.ended {
		n.finish(i, r.err)
	}
	return nil
}

// postable checks the arguments of Post.
func (n *NIC) postable(peer int, done *Completion) error {
	switch {
	case done == nil:
		return &ArgumentError{Call: "Post", Name: "done", Value: "nil", Want: "a completion"}
	case done.pending:
		return &ArgumentError{Call: "Post", Name: "done", Value: "pending", Want: "one that is not in use", Err: ErrBusy}
	case n.requests.live >= maxRequests:
		return &ArgumentError{Call: "Post", Name: "message", Value: fmt.Sprintf("number %d under way", n.requests.live+1),
			Want: fmt.Sprintf("at most %d", maxRequests), Err: ErrBusy}
	}
	return n.reach("Post", peer)
}
