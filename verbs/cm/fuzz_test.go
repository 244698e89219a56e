package cm

import (
	"encoding/binary"
	"testing"
	"time"

	"outboard/verbs/internal/ib"
)

// FuzzMachine runs a machine through messages, calls and times that the input names. It must not panic, and must keep its books.
func FuzzMachine(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00\x07\x00\x08\x00"))
	f.Add([]byte("\x08\x00\x03\x01\x0a\x01\x0b\x01\x09\x01\x06\x01\x0c\x40\x0c\x40"))
	f.Add([]byte("\x00\x01\x00\x01\x0a\x01\x04\x01\x05\x01\x0b\x01\x0c\xff\x0d\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, l := newTestMachine()
		service := m.services[serviceID(testPort)]
		pick := func(b byte) *exchange { return m.byID[hereID+uint32(b%8)] }
		for len(in) >= 2 {
			op, b := in[0], in[1]
			in = in[2:]
			step(m, op, b, pick(b), &in)
			for _, n := range m.news {
				n.to.happened(n.x, n.ev)
			}
			if len(m.out) > 2*(len(m.byID)+8) {
				t.Fatalf("%d messages at once, with %d exchanges", len(m.out), len(m.byID))
			}
			m.out, m.news = nil, nil
			checkBooks(t, m, service)
		}
		_ = l
	})
}

// step does one thing to a machine. The messages have few IDs, so that they meet.
func step(m *machine, op, b byte, x *exchange, more *[]byte) {
	there, here := thereID+uint32(b>>3&7), hereID+uint32(b&7)
	recv := func(msg ib.CMMessage) { m.recv([]string{thereAddr, "elsewhere"}[b>>7], ib.NewCM(uint64(b), msg)) }
	switch op % 16 {
	case 0:
		r := testREQ()
		r.LocalCommID, r.LocalQPN, r.MTU = there, thereQPN+uint32(b&3), 1+b>>6
		recv(r)
	case 1, 2:
		recv(&ib.MRA{LocalCommID: there, RemoteCommID: here, Stage: ib.CMStage(op % 2), ServiceTimeout: b})
	case 3:
		recv(&ib.REP{LocalCommID: there, RemoteCommID: here, LocalQPN: uint32(b)})
	case 4:
		recv(&ib.RTU{LocalCommID: there, RemoteCommID: here})
	case 5:
		recv(&ib.REJ{LocalCommID: there, RemoteCommID: here * uint32(b>>6&1), Reason: RejectReason(b), InfoLen: b % 73})
	case 6:
		recv(&ib.DREQ{LocalCommID: there, RemoteCommID: here, RemoteQPN: hereQPN + uint32(b&1)})
	case 7:
		recv(&ib.DREP{LocalCommID: there, RemoteCommID: here})
	case 8:
		if len(m.byID) < 8 {
			m.connect(thereAddr, &ib.REQ{LocalQPN: hereQPN + uint32(b&1)}, &record{})
		}
	case 12:
		m.now = m.now.Add(time.Duration(b) * 20 * time.Millisecond)
		m.tick()
	case 13:
		m.lost(hereQPN, ErrLost)
		m.remind(thereAddr)
	case 14:
		m.unreachable(thereAddr, ErrLost)
	case 15: // a datagram as it comes
		var raw [ib.MADLen]byte
		*more = (*more)[copy(raw[:], *more):]
		var mad ib.MAD
		if mad.Parse(raw[:]) == nil {
			m.recv(thereAddr, &mad)
		}
		mad.Class, mad.ClassVersion, mad.Method = ib.ClassCM, 2, ib.MethodSend
		mad.Attr = ib.AttrREQ + ib.AttributeID(b%7)
		copy(mad.Data[:], raw[ib.MADHeaderLen:])
		binary.BigEndian.PutUint32(mad.Data[4:], here)
		m.recv(thereAddr, &mad)
	default:
		if x == nil {
			return
		}
		switch op % 16 {
		case 9:
			m.disconnect(x)
		case 10:
			m.accept(x, &ib.REP{LocalQPN: hereQPN})
		case 11:
			if !m.ready(x) {
				m.reject(x, ConsumerReject, nil)
			}
		}
	}
}

func checkBooks(t *testing.T, m *machine, s *service) {
	t.Helper()
	waiting := 0
	for id, x := range m.byID {
		if x.id != id || x.state == idle || x.state >= numStates {
			t.Fatalf("exchange %#x under %#x in %v", x.id, id, x.state)
		}
		if x.service != nil {
			waiting++
			if !x.state.passiveREQ() {
				t.Fatalf("in the backlog in %v", x.state)
			}
		}
		timed := !x.state.passiveREQ() && x.state != repRcvd && x.state != established
		if timed == x.deadline.IsZero() {
			t.Fatalf("deadline %v in %v", x.deadline, x.state)
		}
		if x.deadline.After(m.now.Add(2 * m.timing.of(maxCode))) {
			t.Fatalf("deadline in %v", x.deadline.Sub(m.now))
		}
	}
	if waiting != s.waiting || waiting > s.backlog {
		t.Fatalf("%d requests wait, counted as %d of %d", waiting, s.waiting, s.backlog)
	}
	for r, x := range m.byRemote {
		if m.byID[x.id] != x || x.remoteID != r.id || x.peer != r.peer {
			t.Fatalf("exchange %#x is kept under %+v", x.id, r)
		}
	}
}
