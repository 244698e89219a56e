package unit

import (
	"strings"

	"outboard/nicrt"
)

// maxReason bounds the text of a revocation, in bytes.
const maxReason = 1000

// notice is a revocation to be sent.
type notice struct {
	peer int
	ctx  uint32
	text []byte
}

// Revoke tells peers that a context has come to an end here, and why, so that they end it too instead of waiting
// for messages that nobody will send; as MPIX_Comm_revoke does in ULFM (Bland et al., IJHPCA 27(3), 2013). The
// reason is cut to a thousand bytes.
func (u *Unit) Revoke(ctx uint32, peers []int, why error) {
	text := []byte(why.Error())
	text = text[:min(len(text), maxReason, u.nic.EagerMax())]
	for _, peer := range peers {
		u.notices = append(u.notices, notice{peer, ctx, text})
	}
	u.sendNotices()
}

// OnRevoke sets what is told of peers' revocations. It is called in the middle of a poll, with the NIC's lock
// held, so it must not start anything. The peer need not have anything to do with the context.
func (u *Unit) OnRevoke(f func(ctx uint32, peer int, why string)) { u.onRevoke = f }

// sendNotices sends the revocations that there is room for.
func (u *Unit) sendNotices() {
	left := u.notices[:0]
	for _, n := range u.notices {
		h := nicrt.Header{Program: Program, Op: opRevoke, Ctx: n.ctx}
		if !u.nic.Send(n.peer, &h, n.text) && u.nic.PeerErr(n.peer) == nil {
			left = append(left, n)
		}
	}
	clear(u.notices[len(left):])
	u.notices = left
}

func (u *Unit) arriveRevoke(peer int, ctx uint32, text []byte) bool {
	if len(text) > maxReason {
		return false
	}
	if u.onRevoke != nil {
		u.onRevoke(ctx, peer, strings.ToValidUTF8(string(text), "?"))
	}
	return true
}
