package cm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"outboard/verbs/internal/ib"
)

// record is an owner that keeps what it hears.
type record struct{ events []Event }

func (r *record) happened(_ *exchange, ev Event) { r.events = append(r.events, ev) }

const (
	hereAddr, thereAddr   = "here", "there"
	hereID, thereID       = 0x11, 0x22
	hereQPN, thereQPN     = 0x101, 0x202
	testPort              = 7
	testTID               = 99
	anotherID, anotherQPN = 0x33, 0x303
)

// newTestMachine counts its communication IDs up from hereID.
func newTestMachine() (*machine, *record) {
	id := uint32(hereID - 2) // one goes into the transaction IDs
	m := newMachine(hereAddr, 5, defaultTiming, func() uint32 { id++; return id })
	m.now = time.Unix(1000, 0)
	l := &record{}
	m.listen(serviceID(testPort), 4, l)
	return m, l
}

func testREQ() *ib.REQ {
	r := &ib.REQ{LocalCommID: thereID, ServiceID: serviceID(testPort), LocalQPN: thereQPN, MTU: 5,
		Primary: ib.Path{LocalGID: ib.GIDOf(thereAddr), RemoteGID: ib.GIDOf(hereAddr)}}
	copy(r.PrivateData[:], appendHeader(nil, 1, r.Primary.LocalGID, r.Primary.RemoteGID))
	return r
}

func testREP() *ib.REP {
	return &ib.REP{LocalCommID: thereID, RemoteCommID: hereID, LocalQPN: thereQPN}
}

// exchangeIn brings a machine's exchange hereID into a state by the messages that lead there.
func exchangeIn(t testing.TB, s state, active bool) (m *machine, x *exchange, o *record) {
	t.Helper()
	m, _ = newTestMachine()
	o = &record{}
	if s == reqSent || s == mraREQRcvd || s == repRcvd {
		active = true
	}
	recv := func(msg ib.CMMessage) { m.recv(thereAddr, ib.NewCM(testTID, msg)) }
	if active {
		x = m.connect(thereAddr, &ib.REQ{LocalQPN: hereQPN}, o)
		switch s {
		case reqSent:
		case mraREQRcvd:
			recv(&ib.MRA{LocalCommID: thereID, RemoteCommID: hereID})
		default:
			recv(testREP())
			if s != repRcvd {
				m.ready(x)
			}
		}
	} else {
		recv(testREQ())
		x = m.byID[hereID]
		x.owner = o
		switch s {
		case reqRcvd:
		case mraREQSent:
			recv(testREQ())
		case rejected:
			m.reject(x, ConsumerReject, nil)
		default:
			m.accept(x, &ib.REP{LocalQPN: hereQPN})
			switch s {
			case repSent:
			case mraREPRcvd:
				recv(&ib.MRA{LocalCommID: thereID, RemoteCommID: hereID, Stage: ib.StageREP})
			default:
				recv(&ib.RTU{LocalCommID: thereID, RemoteCommID: hereID})
			}
		}
	}
	switch s {
	case dreqSent:
		m.disconnect(x)
	case timewait:
		recv(&ib.DREQ{LocalCommID: thereID, RemoteCommID: hereID, RemoteQPN: hereQPN})
	}
	if x.state != s {
		t.Fatalf("exchange in %v, want %v", x.state, s)
	}
	m.out, m.news, o.events = nil, nil, nil
	return m, x, o
}

// sent and told write what a machine has to send and to tell, and take it.
func sent(m *machine) string {
	var names []string
	for _, l := range m.out {
		names = append(names, l.mad.Attr.String())
	}
	m.out = nil
	return strings.Join(names, " ")
}

func told(m *machine) string {
	var names []string
	for _, n := range m.news {
		names = append(names, n.ev.Type.String())
	}
	m.news = nil
	return strings.Join(names, " ")
}

// stimuli are all that can happen to an exchange: the messages of its peer, its owner's calls, and the time.
var stimuli = []struct {
	name string
	do   func(*machine, *exchange)
}{
	{"REQ", func(m *machine, x *exchange) { m.recv(thereAddr, ib.NewCM(testTID, testREQ())) }},
	{"MRA of REQ", recvOf(&ib.MRA{LocalCommID: thereID, RemoteCommID: hereID, Stage: ib.StageREQ, ServiceTimeout: 20})},
	{"MRA of REP", recvOf(&ib.MRA{LocalCommID: thereID, RemoteCommID: hereID, Stage: ib.StageREP, ServiceTimeout: 20})},
	{"REP", recvOf(testREP())},
	{"RTU", recvOf(&ib.RTU{LocalCommID: thereID, RemoteCommID: hereID})},
	{"REJ", recvOf(&ib.REJ{LocalCommID: thereID, RemoteCommID: hereID, Reason: ConsumerReject})},
	{"REJ of who heard nothing", recvOf(&ib.REJ{LocalCommID: thereID, Reason: Timeout})},
	{"DREQ", recvOf(&ib.DREQ{LocalCommID: thereID, RemoteCommID: hereID, RemoteQPN: hereQPN})},
	{"DREP", recvOf(&ib.DREP{LocalCommID: thereID, RemoteCommID: hereID})},
	{"accept", func(m *machine, x *exchange) { m.accept(x, &ib.REP{LocalQPN: hereQPN}) }},
	{"reject", func(m *machine, x *exchange) { m.reject(x, ConsumerReject, nil) }},
	{"ready", func(m *machine, x *exchange) { m.ready(x) }},
	{"disconnect", func(m *machine, x *exchange) { m.disconnect(x) }},
	{"time", func(m *machine, x *exchange) { m.now = m.next(); m.tick() }},
	{"last time", func(m *machine, x *exchange) { x.left = 0; m.now = m.next(); m.tick() }},
	{"port gone", func(m *machine, x *exchange) { m.unreachable(thereAddr, ErrLost) }},
	{"wire gone", func(m *machine, x *exchange) { m.lost(hereQPN, ErrLost) }},
	{"device gone", func(m *machine, x *exchange) { m.removed(ErrLost) }},
}

func recvOf(msg ib.CMMessage) func(*machine, *exchange) {
	return func(m *machine, _ *exchange) { m.recv(thereAddr, ib.NewCM(testTID, msg)) }
}

// reaction is what a stimulus does: the state after it, what is sent, what is told. A stimulus that is not in a
// state's row does nothing there.
type reaction struct {
	to         state
	sent, told string
}

var everyState = map[string]reaction{"device gone": {idle, "", "DEVICE_REMOVAL"}}

// The state diagram of IBTA 12.9.5 and 12.9.6, for both sides. A REQ of the same peer for an exchange that this side began
// is another connection, as are the stale ones.
var transitions = map[state]map[string]reaction{
	reqSent: {
		"REQ":        {reqSent, "", "CONNECT_REQUEST"},
		"MRA of REQ": {mraREQRcvd, "", ""},
		"REP":        {repRcvd, "", "CONNECT_RESPONSE"},
		"REJ":        {idle, "", "REJECTED"},
		"DREQ":       {reqSent, "DREP", ""}, // of an older connection
		"disconnect": {idle, "REJ", ""},
		"time":       {reqSent, "REQ", ""},
		"last time":  {idle, "REJ", "UNREACHABLE"},
		"port gone":  {idle, "", "UNREACHABLE"},
		"wire gone":  {idle, "", "UNREACHABLE"},
	},
	mraREQRcvd: {
		"REQ":        {mraREQRcvd, "", "CONNECT_REQUEST"},
		"MRA of REQ": {mraREQRcvd, "", ""},
		"REP":        {repRcvd, "", "CONNECT_RESPONSE"},
		"REJ":        {idle, "", "REJECTED"},
		"DREQ":       {mraREQRcvd, "DREP", ""},
		"disconnect": {idle, "REJ", ""},
		"time":       {mraREQRcvd, "REQ", ""},
		"last time":  {idle, "REJ", "UNREACHABLE"},
		"port gone":  {idle, "", "UNREACHABLE"},
		"wire gone":  {idle, "", "UNREACHABLE"},
	},
	repRcvd: {
		"REQ":        {repRcvd, "", "CONNECT_REQUEST"},
		"REJ":        {idle, "", "REJECTED"},
		"ready":      {established, "RTU", "ESTABLISHED"},
		"disconnect": {idle, "REJ", ""},
		"port gone":  {idle, "", "UNREACHABLE"},
		"wire gone":  {idle, "", "UNREACHABLE"},
	},
	reqRcvd: {
		"REQ":                      {mraREQSent, "MRA", ""},
		"REJ":                      {idle, "", "REJECTED"},
		"REJ of who heard nothing": {idle, "", "REJECTED"},
		"accept":                   {repSent, "REP", ""},
		"reject":                   {rejected, "REJ", ""},
		"disconnect":               {idle, "REJ", ""},
		"port gone":                {idle, "", "UNREACHABLE"},
	},
	mraREQSent: {
		"REQ":                      {mraREQSent, "MRA", ""},
		"REJ":                      {idle, "", "REJECTED"},
		"REJ of who heard nothing": {idle, "", "REJECTED"},
		"accept":                   {repSent, "REP", ""},
		"reject":                   {rejected, "REJ", ""},
		"disconnect":               {idle, "REJ", ""},
		"port gone":                {idle, "", "UNREACHABLE"},
	},
	repSent: {
		"REQ":                      {repSent, "REP", ""},
		"MRA of REP":               {mraREPRcvd, "", ""},
		"RTU":                      {established, "", "ESTABLISHED"},
		"REJ":                      {idle, "", "REJECTED"},
		"REJ of who heard nothing": {idle, "", "REJECTED"},
		"DREQ":                     {timewait, "DREP", "ESTABLISHED DISCONNECTED"},
		"disconnect":               {idle, "REJ", ""},
		"time":                     {repSent, "REP", ""},
		"last time":                {idle, "REJ", "UNREACHABLE"},
		"port gone":                {idle, "", "UNREACHABLE"},
		"wire gone":                {idle, "", "UNREACHABLE"},
	},
	mraREPRcvd: {
		"REQ":                      {mraREPRcvd, "REP", ""},
		"MRA of REP":               {mraREPRcvd, "", ""},
		"RTU":                      {established, "", "ESTABLISHED"},
		"REJ":                      {idle, "", "REJECTED"},
		"REJ of who heard nothing": {idle, "", "REJECTED"},
		"DREQ":                     {timewait, "DREP", "ESTABLISHED DISCONNECTED"},
		"disconnect":               {idle, "REJ", ""},
		"time":                     {mraREPRcvd, "REP", ""},
		"last time":                {idle, "REJ", "UNREACHABLE"},
		"port gone":                {idle, "", "UNREACHABLE"},
		"wire gone":                {idle, "", "UNREACHABLE"},
	},
	rejected: {
		"REQ":         {rejected, "REJ", ""},
		"time":        {idle, "", ""},
		"last time":   {idle, "", ""},
		"port gone":   {idle, "", ""},
		"device gone": {idle, "", ""}, // nobody's
	},
	established: {
		"REJ":        {timewait, "", "DISCONNECTED"},
		"DREQ":       {timewait, "DREP", "DISCONNECTED"},
		"disconnect": {dreqSent, "DREQ", ""},
		"port gone":  {timewait, "", "DISCONNECTED"},
		"wire gone":  {timewait, "DREQ", "DISCONNECTED"},
	},
	dreqSent: {
		"DREQ":      {timewait, "DREP", "DISCONNECTED"},
		"DREP":      {timewait, "", "DISCONNECTED"},
		"time":      {dreqSent, "DREQ", ""},
		"last time": {timewait, "", "DISCONNECTED"},
		"port gone": {timewait, "", "DISCONNECTED"},
		"wire gone": {timewait, "", "DISCONNECTED"},
	},
	timewait: {
		"DREQ":      {timewait, "DREP", ""},
		"time":      {idle, "", "TIMEWAIT_EXIT"},
		"last time": {idle, "", "TIMEWAIT_EXIT"},
	},
}

// sideOnly is what differs between the sides in the states that both have.
var sideOnly = map[bool]map[state]map[string]reaction{
	true: {
		established: {
			"REP": {established, "RTU", ""},
			"REQ": {timewait, "REJ", "DISCONNECTED"}, // for the queue pair that it has connected: it is stale
		},
		dreqSent: {"REQ": {timewait, "REJ", "DISCONNECTED"}},
		timewait: {"REQ": {timewait, "", "CONNECT_REQUEST"}},
	},
	false: {
		established: {"REJ of who heard nothing": {timewait, "", "DISCONNECTED"}},
	},
}

func TestTransitions(t *testing.T) {
	for s := reqSent; s < numStates; s++ {
		sides := []bool{false}
		if s >= established {
			sides = []bool{false, true}
		}
		for _, active := range sides {
			for _, st := range stimuli {
				t.Run(fmt.Sprintf("%v, active %v: %s", s, active, st.name), func(t *testing.T) {
					m, x, _ := exchangeIn(t, s, active)
					want, ok := sideOnly[active][s][st.name]
					if !ok {
						want, ok = transitions[s][st.name]
					}
					if !ok {
						want, ok = everyState[st.name]
					}
					if !ok {
						want = reaction{to: s}
					}
					st.do(m, x)
					if got := (reaction{x.state, sent(m), told(m)}); got != want {
						t.Errorf("got %v, sent %q, told %q; want %v, %q, %q", got.to, got.sent, got.told, want.to, want.sent, want.told)
					}
					if known := m.byID[hereID] == x; known != (x.state != idle) {
						t.Errorf("known: %v, in %v", known, x.state)
					}
				})
			}
		}
	}
}

// TestStrangers sends every message with IDs, from a peer, or for a queue pair that is not that of the exchange.
func TestStrangers(t *testing.T) {
	for s := reqSent; s < numStates; s++ {
		for name, deliver := range map[string]func(m *machine, msg ib.CMMessage){
			"another peer": func(m *machine, msg ib.CMMessage) { m.recv("stranger", ib.NewCM(testTID, msg)) },
			"another ID": func(m *machine, msg ib.CMMessage) {
				switch msg := msg.(type) {
				case *ib.MRA:
					msg.RemoteCommID = anotherID
				case *ib.REP:
					msg.RemoteCommID = anotherID
				case *ib.RTU:
					msg.RemoteCommID = anotherID
				case *ib.REJ:
					msg.RemoteCommID = anotherID
				case *ib.DREQ:
					msg.RemoteCommID = anotherID
				case *ib.DREP:
					msg.RemoteCommID = anotherID
				}
				m.recv(thereAddr, ib.NewCM(testTID, msg))
			},
		} {
			t.Run(fmt.Sprintf("%v: %s", s, name), func(t *testing.T) {
				for _, msg := range []ib.CMMessage{
					&ib.MRA{LocalCommID: thereID, RemoteCommID: hereID}, testREP(), &ib.RTU{LocalCommID: thereID, RemoteCommID: hereID},
					&ib.REJ{LocalCommID: thereID, RemoteCommID: hereID}, &ib.DREQ{LocalCommID: thereID, RemoteCommID: hereID, RemoteQPN: hereQPN},
					&ib.DREP{LocalCommID: thereID, RemoteCommID: hereID},
				} {
					m, x, _ := exchangeIn(t, s, false)
					deliver(m, msg)
					want := map[ib.AttributeID]string{ib.AttrREP: "REJ", ib.AttrDREQ: "DREP"}[msg.Attr()]
					if got := sent(m); x.state != s || got != want || told(m) != "" {
						t.Errorf("%v: in %v, sent %q, want %v and %q", msg.Attr(), x.state, got, s, want)
					}
				}
			})
		}
	}
	t.Run("DREQ for another queue pair", func(t *testing.T) {
		m, x, _ := exchangeIn(t, established, false)
		m.recv(thereAddr, ib.NewCM(testTID, &ib.DREQ{LocalCommID: thereID, RemoteCommID: hereID, RemoteQPN: anotherQPN}))
		if x.state != established || sent(m) != "" {
			t.Errorf("in %v, want it established", x.state)
		}
	})
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*ib.REQ)
		want RejectReason
		info int
	}{
		{"good", func(*ib.REQ) {}, 0, 0},
		{"UC", func(r *ib.REQ) { r.ServiceType = ib.ServiceUC }, 0, 0},
		{"service", func(r *ib.REQ) { r.ServiceID++ }, InvalidServiceID, 0},
		{"type", func(r *ib.REQ) { r.ServiceType = 2 }, InvalidServiceType, 0},
		{"XRC", func(r *ib.REQ) { r.ExtendedType = 1 }, InvalidServiceType, 0},
		{"queue pair 1", func(r *ib.REQ) { r.LocalQPN = 1 }, UnsupportedRequest, 0},
		{"no ID", func(r *ib.REQ) { r.LocalCommID = 0 }, UnsupportedRequest, 0},
		{"another's GID", func(r *ib.REQ) { r.Primary.LocalGID[3]++ }, UnsupportedRequest, 0},
		{"for another GID", func(r *ib.REQ) { r.Primary.RemoteGID[3]++ }, InvalidGID, 16},
		{"no header of rdma_cm", func(r *ib.REQ) { r.PrivateData[0] = 1 }, UnsupportedRequest, 0},
		{"MTU 0", func(r *ib.REQ) { r.MTU = 0 }, InvalidMTU, 1},
		{"MTU 6", func(r *ib.REQ) { r.MTU = 6 }, InvalidMTU, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, _ := newTestMachine()
			r := testREQ()
			tt.edit(r)
			m.recv(thereAddr, ib.NewCM(testTID, r))
			if tt.want == 0 {
				if got := told(m); got != "CONNECT_REQUEST" || sent(m) != "" {
					t.Errorf("told %q, want a request", got)
				}
				return
			}
			if len(m.out) != 1 || len(m.news) != 0 || len(m.byID) != 0 {
				t.Fatalf("%d messages, %d events, %d exchanges, want a REJ", len(m.out), len(m.news), len(m.byID))
			}
			msg, err := m.out[0].mad.CM()
			must(t, err)
			if rej, ok := msg.(*ib.REJ); !ok || rej.Reason != tt.want || rej.RemoteCommID != r.LocalCommID || int(rej.InfoLen) != tt.info || rej.Stage != ib.StageREQ {
				t.Errorf("answered %+v, want reason %v", msg, tt.want)
			}
		})
	}
}

// TestBacklog fills a backlog, and makes room in each way in which a request can leave it.
func TestBacklog(t *testing.T) {
	for name, leave := range map[string]func(*machine, *exchange){
		"taken":     func(m *machine, x *exchange) { m.untake(x) },
		"accepted":  func(m *machine, x *exchange) { m.accept(x, &ib.REP{LocalQPN: hereQPN}) },
		"rejected":  func(m *machine, x *exchange) { m.reject(x, ConsumerReject, nil) },
		"withdrawn": func(m *machine, x *exchange) { m.recvREJ(thereAddr, &ib.REJ{LocalCommID: x.remoteID}) },
		"gone":      func(m *machine, x *exchange) { m.drop(x) },
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newTestMachine()
			ask := func(n uint32) {
				r := testREQ()
				r.LocalCommID, r.LocalQPN = r.LocalCommID+n, r.LocalQPN+n
				m.recv(thereAddr, ib.NewCM(testTID, r))
			}
			for n := range uint32(5) {
				ask(n)
			}
			if s, n := sent(m), told(m); s != "REJ" || n != strings.TrimSpace(strings.Repeat("CONNECT_REQUEST ", 4)) {
				t.Fatalf("sent %q, told %q, want four requests and a REJ", s, n)
			}
			leave(m, m.byRemote[remoteID{thereAddr, thereID}])
			sent(m)
			ask(10)
			if got := told(m); got != "CONNECT_REQUEST" {
				t.Errorf("told %q, want a request", got)
			}
		})
	}
}
