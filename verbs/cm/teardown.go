package cm

import "outboard/verbs/internal/ib"

// The end of a connection: DREQ, DREP and TIMEWAIT.

// disconnect begins the end, or gives up the set-up.
func (m *machine) disconnect(x *exchange) {
	if x.state != established {
		m.giveUp(x, ConsumerReject, nil)
		return
	}
	x.state = dreqSent
	m.pursue(x, m.nextTID(), m.dreq(x), m.timing.of(m.timing.response))
}

func (*machine) dreq(x *exchange) *ib.DREQ {
	return &ib.DREQ{LocalCommID: x.id, RemoteCommID: x.remoteID, RemoteQPN: x.remoteQPN}
}

// disconnected enters TIMEWAIT; err unless one side asked for it.
func (m *machine) disconnected(x *exchange, err error) {
	m.tell(x, Disconnected, err)
	x.state, x.last, x.left, x.deadline = timewait, nil, 0, m.now.Add(m.timing.of(m.timing.timewait))
}

// recvDREQ answers a DREQ in any state, and also one of a connection that this side has forgotten: the peer would go on asking.
func (m *machine) recvDREQ(from string, tid uint64, r *ib.DREQ) {
	x := m.find(from, r.LocalCommID, r.RemoteCommID)
	if x != nil {
		switch {
		case x.state == idle || x.localQPN != r.RemoteQPN:
			return
		case x.state == repSent || x.state == mraREPRcvd: // the RTU was lost
			m.up(x)
			m.disconnected(x, nil)
		case x.state == established || x.state == dreqSent:
			m.disconnected(x, nil)
		case x.state != timewait:
			return
		}
	}
	m.post(from, tid, &ib.DREP{LocalCommID: r.RemoteCommID, RemoteCommID: r.LocalCommID})
}

func (m *machine) recvDREP(from string, r *ib.DREP) {
	if x := m.find(from, r.LocalCommID, r.RemoteCommID); x != nil && x.state == dreqSent {
		m.disconnected(x, nil)
	}
}
