package unit

// take gives a kept message to its receive.
func (u *Unit) take(op *Op, m *message) {
	if m.eager {
		u.deliver(op, m.source, m.tag, m.data)
		u.pool.put(m.data)
		return
	}
	u.read(op, m)
}

// deliver ends a receive with data that is here.
func (u *Unit) deliver(op *Op, source, tag int32, data []byte) {
	op.Source, op.Tag, op.Len = source, tag, len(data)
	var err error
	if copy(op.buf, data) < len(data) {
		err = ErrTruncate
	}
	u.finish(op, err)
}

// read starts the transfer of a long message from the sender's buffer.
func (u *Unit) read(op *Op, m *message) {
	op.Source, op.Tag, op.Len = m.source, m.tag, int(m.rts.len)
	op.unit, op.peer, op.rts, op.state = u, m.peer, m.rts, reading
	done, err := true, error(nil)
	if n := min(len(op.buf), op.Len); n > 0 {
		done, err = u.nic.Read(int(m.peer), op.buf[:n], m.rts.addr, m.rts.key, opReader{op}, 0)
	}
	if done {
		u.readDone(op, err)
	}
}

// readDone ends a receive whose data has been read, or could not be.
func (u *Unit) readDone(op *Op, err error) {
	how := uint16(finTaken)
	if err != nil {
		how = finRefused
	} else if len(op.buf) < op.Len {
		err = ErrTruncate
	}
	u.answer(op.peer, op.rts.id, how)
	u.finish(op, err)
}

// answer tells a sender that this side is done with its message.
func (u *Unit) answer(peer int32, id uint32, how uint16) {
	if u.nic.PeerErr(int(peer)) == nil {
		u.post(int(peer), item{fin: id, how: how})
	}
}
