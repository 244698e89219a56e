package unit

// failPeer ends the sends to a peer that is gone. Reads from it end through the NIC. It may run in the middle of a transmit.
func (u *Unit) failPeer(peer int, err error) {
	u.out.queues[peer].cut(func(it item) bool {
		u.lost(it, err)
		return true
	})
	for i := range u.sends.entries {
		if e := &u.sends.entries[i]; e.live && e.peer == int32(peer) {
			u.endSend(u.sends.id(i), err)
		}
	}
}

// FailContext ends a context for good: receives posted and sends that wait end with err, messages kept are dropped. So do receives
// and long sends that are still to be started, and messages still to come. A receive that has matched goes on. A context that
// has ended takes a few words for ever.
func (u *Unit) FailContext(ctx uint32, err error) {
	if err == nil {
		err = errEnded
	}
	u.ended.end(ctx, err)
	u.empty(ctx, err)
}

// FreeContext ends what is left in a context, as FailContext does, but lets the number be used again: for another context, once
// no peer can have a message of the old one under way. The number of a context that has failed stays failed.
func (u *Unit) FreeContext(ctx uint32, err error) {
	if err == nil {
		err = errEnded
	}
	u.empty(ctx, err)
}

// empty ends everything in a context with err.
func (u *Unit) empty(ctx uint32, err error) {
	receives, messages := u.match.RemoveContext(ctx)
	for _, r := range receives {
		u.finish(r.Value, err)
	}
	for i := range messages {
		u.refuse(&messages[i].Value)
	}
	for peer := range u.out.queues {
		u.out.queues[peer].cut(func(it item) bool {
			mine := it.op != nil && it.op.key.Ctx == ctx
			if mine {
				u.lost(it, err)
			}
			return mine
		})
	}
	for i := range u.sends.entries {
		if e := &u.sends.entries[i]; e.op != nil && e.op.key.Ctx == ctx {
			op := e.op
			e.op = nil // the peer may be reading: the buffer stays exposed until it says that it has done
			u.finish(op, err)
		}
	}
}

// refuse drops a message that was kept.
func (u *Unit) refuse(m *message) {
	u.stats.Refused++
	if m.eager {
		u.pool.put(m.data)
		return
	}
	u.answer(m.peer, m.rts.id, finRefused)
}
