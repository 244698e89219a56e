package cm

import (
	"fmt"
	"time"

	"outboard/verbs/internal/ib"
)

// The set-up of a connection: REQ, REP and RTU; MRA where the program takes its time; REJ.

// listen makes a service, nil if there is one with the ID.
func (m *machine) listen(id uint64, backlog int, o owner) *service {
	if m.services[id] != nil {
		return nil
	}
	s := &service{id: id, backlog: backlog, owner: o}
	m.services[id] = s
	return s
}

func (m *machine) unlisten(s *service) { delete(m.services, s.id) }

// connect sends a REQ, which names the queue pair and what is asked for; the machine adds what is its own.
func (m *machine) connect(peer string, req *ib.REQ, o owner) *exchange {
	x := &exchange{peer: peer, tid: m.nextTID(), state: reqSent, localQPN: req.LocalQPN, owner: o}
	m.add(x)
	req.LocalCommID, req.LocalCAGUID = x.id, ib.GUIDOf(m.addr)
	req.RemoteCMTimeout, req.LocalCMTimeout, req.MaxCMRetries = m.timing.response, m.timing.response, m.timing.retries
	m.pursue(x, x.tid, req, m.timing.of(m.timing.response))
	return x
}

func (m *machine) recvREQ(from string, tid uint64, r *ib.REQ) {
	if x := m.byRemote[remoteID{from, r.LocalCommID}]; x != nil {
		m.duplicateREQ(x)
		return
	}
	reason, info := m.judge(from, r)
	if reason != 0 {
		rej := &ib.REJ{RemoteCommID: r.LocalCommID, Stage: ib.StageREQ, Reason: reason}
		rej.InfoLen = uint8(copy(rej.Info[:], info))
		m.post(from, tid, rej)
		return
	}
	s := m.services[r.ServiceID]
	x := &exchange{peer: from, remoteID: r.LocalCommID, tid: tid, state: reqRcvd, remoteQPN: r.LocalQPN, service: s, req: r}
	m.add(x)
	m.byRemote[remoteID{from, r.LocalCommID}] = x
	s.waiting++
	m.news = append(m.news, news{s.owner, x, Event{Type: ConnectRequest}})
}

// duplicateREQ answers a REQ that came before.
func (m *machine) duplicateREQ(x *exchange) {
	switch x.state {
	case reqRcvd, mraREQSent:
		x.state = mraREQSent
		m.postMRA(x)
	case repSent, mraREPRcvd, rejected:
		m.post(x.peer, x.lastTID, x.last)
	}
}

func (m *machine) postMRA(x *exchange) {
	m.post(x.peer, x.tid, &ib.MRA{LocalCommID: x.id, RemoteCommID: x.remoteID, Stage: ib.StageREQ, ServiceTimeout: m.timing.service})
}

// judge says why a REQ cannot be had, 0 if it can, and what would do.
func (m *machine) judge(from string, r *ib.REQ) (reason RejectReason, info []byte) {
	s := m.services[r.ServiceID]
	switch {
	case s == nil:
		return InvalidServiceID, nil
	case r.Primary.RemoteGID != ib.GIDOf(m.addr):
		g := ib.GIDOf(m.addr)
		return InvalidGID, g[:]
	case r.ServiceType != ib.ServiceRC && r.ServiceType != ib.ServiceUC || r.ExtendedType != 0:
		return InvalidServiceType, nil
	case r.LocalQPN <= ib.QP1 || r.LocalCommID == 0 || r.Primary.LocalGID != ib.GIDOf(from) || !goodHeader(r):
		return UnsupportedRequest, nil
	case r.MTU < 1 || r.MTU > m.maxMTU:
		return InvalidMTU, []byte{m.maxMTU}
	case m.stale(from, r.LocalQPN):
		return StaleConnection, nil
	case s.waiting >= s.backlog:
		return NoResources, nil
	}
	return 0, nil
}

// stale ends connections with a queue pair that its owner now wants to connect (IBTA 12.9.8.3.1).
func (m *machine) stale(peer string, qpn uint32) (found bool) {
	for _, x := range m.byID {
		if x.peer != peer || x.remoteQPN != qpn {
			continue
		}
		err := &RejectedError{Reason: StaleConnection}
		switch x.state {
		case established, dreqSent:
			m.disconnected(x, err)
		case repSent, mraREPRcvd:
			m.tell(x, Rejected, err)
			m.drop(x)
		default:
			continue
		}
		found = true
	}
	return found
}

// accept sends a REP, unless the request has been withdrawn.
func (m *machine) accept(x *exchange, rep *ib.REP) {
	if !x.state.passiveREQ() {
		return
	}
	m.untake(x)
	rep.LocalCommID, rep.RemoteCommID, rep.LocalCAGUID = x.id, x.remoteID, ib.GUIDOf(m.addr)
	x.state, x.rep, x.localQPN = repSent, rep, rep.LocalQPN
	m.pursue(x, x.tid, rep, max(m.timing.of(m.timing.response), m.timing.of(min(x.req.LocalCMTimeout, patience))))
}

// patience bounds the time between two REPs that a peer may ask for: 4.3 s.
const patience = 20

// reject answers a request with a REJ, unless it has been withdrawn.
func (m *machine) reject(x *exchange, reason RejectReason, private []byte) {
	if !x.state.passiveREQ() {
		return
	}
	m.untake(x)
	rej := &ib.REJ{LocalCommID: x.id, RemoteCommID: x.remoteID, Stage: ib.StageREQ, Reason: reason}
	copy(rej.PrivateData[:], private)
	every := m.timing.of(m.timing.response)
	told := x.state == mraREQSent
	x.state, x.owner = rejected, nil
	m.pursue(x, x.tid, rej, every)
	if !told { // the peer will ask again if this one is lost; else it waits, long, so this one is sent until it must have come
		x.left, x.deadline = 0, m.now.Add(time.Duration(m.timing.retries+1)*every)
	}
}

// giveUp ends the set-up from this side.
func (m *machine) giveUp(x *exchange, reason RejectReason, private []byte) {
	if !x.state.settingUp() {
		return
	}
	rej := &ib.REJ{LocalCommID: x.id, RemoteCommID: x.remoteID, Stage: ib.StageOther, Reason: reason}
	switch {
	case x.state == repRcvd:
		rej.Stage = ib.StageREP
	case x.state.passiveREQ():
		rej.Stage = ib.StageREQ
	}
	if reason == Timeout {
		guid := ib.GUIDOf(m.addr)
		rej.InfoLen = uint8(copy(rej.Info[:], guid[:]))
	}
	copy(rej.PrivateData[:], private)
	m.post(x.peer, x.tid, rej)
	m.drop(x)
}

func (m *machine) recvMRA(from string, r *ib.MRA) {
	x := m.byID[r.RemoteCommID]
	switch {
	case x == nil || x.peer != from:
		return
	case (x.state == reqSent || x.state == mraREQRcvd) && r.Stage == ib.StageREQ:
		x.state = mraREQRcvd
	case (x.state == repSent || x.state == mraREPRcvd) && r.Stage == ib.StageREP && x.remoteID == r.LocalCommID:
		x.state = mraREPRcvd
	default:
		return
	}
	x.left = int(m.timing.retries) // it is there
	x.deadline = m.now.Add(m.timing.of(r.ServiceTimeout) + x.interval)
}

func (m *machine) recvREP(from string, tid uint64, r *ib.REP) {
	x := m.byID[r.RemoteCommID]
	switch {
	case x == nil || x.peer != from:
		m.post(from, tid, &ib.REJ{RemoteCommID: r.LocalCommID, Stage: ib.StageREP, Reason: InvalidCommID})
	case x.state == reqSent || x.state == mraREQRcvd:
		x.remoteID, x.remoteQPN, x.rep, x.tid = r.LocalCommID, r.LocalQPN, r, tid
		x.state, x.deadline, x.last = repRcvd, time.Time{}, nil
		if r.LocalQPN <= ib.QP1 || r.LocalCommID == 0 {
			m.giveUp(x, UnsupportedRequest, nil)
			m.tell(x, ConnectError, fmt.Errorf("%w: queue pair %#x of the peer: expected more than 1", ErrInvalid, r.LocalQPN))
			return
		}
		m.tell(x, ConnectResponse, nil)
	case x.remoteID != r.LocalCommID:
	case x.state == established && x.req == nil: // the RTU was lost
		m.postRTU(x)
	}
}

func (m *machine) postRTU(x *exchange) {
	m.post(x.peer, x.tid, &ib.RTU{LocalCommID: x.id, RemoteCommID: x.remoteID})
}

// ready says that the queue pair of the active side can be used; false if the peer has withdrawn.
func (m *machine) ready(x *exchange) bool {
	if x.state != repRcvd {
		return false
	}
	m.postRTU(x)
	m.up(x)
	return true
}

func (m *machine) up(x *exchange) {
	x.state, x.deadline, x.last = established, time.Time{}, nil
	m.tell(x, Established, nil)
}

func (m *machine) recvRTU(from string, r *ib.RTU) {
	if x := m.find(from, r.LocalCommID, r.RemoteCommID); x != nil && (x.state == repSent || x.state == mraREPRcvd) {
		m.up(x)
	}
}

func (m *machine) recvREJ(from string, r *ib.REJ) {
	x := m.byID[r.RemoteCommID]
	if r.RemoteCommID == 0 { // of whoever did not hear from this side
		x = m.byRemote[remoteID{from, r.LocalCommID}]
	}
	if x == nil || x.peer != from {
		return
	}
	err := &RejectedError{Reason: r.Reason, PrivateData: append([]byte(nil), r.PrivateData[:]...), info: r.Info[:r.InfoLen]}
	switch {
	case x.state == reqSent || x.state == mraREQRcvd:
	case r.LocalCommID != x.remoteID && r.LocalCommID != 0:
		return
	case x.state == established:
		m.disconnected(x, err) // the peer never heard the RTU
		return
	case !x.state.settingUp():
		return
	}
	m.tell(x, Rejected, err)
	m.drop(x)
}
