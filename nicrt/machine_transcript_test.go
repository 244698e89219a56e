package nicrt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestTranscripts replays testdata/machine: conversations between the wire, the
// host and a machine whose handlers return when they are told to. Commands:
//
//	machine [clusters=n] [hpus=n] [queue=n] [packets=n] [memory=bytes] [packet-memory=bytes]
//	install id=n name=word [resident] [handlers=hpc] [memory=n] [scratch=n] [budget=ns]
//	packet msg=n [peer=n] [to=n] [first] [last] [size=n]
//	verdict [header=v] [payload=v]       what handlers decide from now on
//	panic in=kind                        the next handler of that kind panics
//	return msg=n kind=k [n=i] [after=ns] a running handler of message n returns
//	return all
//	late msg=n kind=k [after=ns]         a running handler overruns
//	down peer=n
//	stop id=n
//	state | events id=n | account
//
// Each answers with what happened, and with the handlers that began.
// Run with -rewrite to renew the answers, and only keep changes you can explain.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/machine", func(t *testing.T, path string) {
		s := &transcript{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.command(t, d)
		})
	})
}

type transcript struct {
	machine   *machine
	held      []*Task
	installed map[int]*Installed
	verdicts  [2]Verdict
	panics    string
	out       strings.Builder
}

func (s *transcript) say(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

// run is the machine's runner: it says what began and keeps it.
func (s *transcript) run(t *Task) {
	s.held = append(s.held, t)
	s.say("  %s begins on HPU %d", s.name(t), t.hpu)
}

func (s *transcript) name(t *Task) string {
	return fmt.Sprintf("%s %v handler of message %d at byte %d", t.in.Name(), t.kind, t.packet.msg, t.packet.offset)
}

func (s *transcript) command(t *testing.T, d *datadriven.TestData) string {
	s.out.Reset()
	do, ok := map[string]func(*testing.T, *datadriven.TestData){
		"machine": s.doMachine, "install": s.doInstall, "packet": s.doPacket, "verdict": s.doVerdict,
		"panic": s.doPanic, "return": s.doReturn, "late": s.doLate, "down": s.doDown, "stop": s.doStop,
		"state": s.doState, "events": s.doEvents, "account": s.doAccount,
	}[d.Cmd]
	if !ok {
		d.Fatalf(t, "no command %q", d.Cmd)
	}
	do(t, d)
	if s.out.Len() == 0 {
		return "ok\n"
	}
	return s.out.String()
}

// number returns the argument of that name, or what stands for it.
func number(t *testing.T, d *datadriven.TestData, name string, otherwise int) int {
	d.MaybeScanArgs(t, name, &otherwise)
	return otherwise
}

func word(t *testing.T, d *datadriven.TestData, name, otherwise string) string {
	d.MaybeScanArgs(t, name, &otherwise)
	return otherwise
}

func (s *transcript) doMachine(t *testing.T, d *datadriven.TestData) {
	c := machineConfig{clusters: number(t, d, "clusters", 2), hpus: number(t, d, "hpus", 1), queue: number(t, d, "queue", 2),
		packets: number(t, d, "packets", 8), packetMemory: number(t, d, "packet-memory", 1024)}
	c.memory = newMemoryOf(number(t, d, "memory", 4096))
	s.machine, _ = newTestMachine(c)
	s.machine.runner = s
	s.held, s.installed, s.verdicts = nil, map[int]*Installed{}, [2]Verdict{}
}

func (s *transcript) doInstall(t *testing.T, d *datadriven.TestData) {
	id := number(t, d, "id", 1)
	p := Program{Name: word(t, d, "name", ""), Resident: d.HasArg("resident"), Memory: number(t, d, "memory", 0),
		Scratch: number(t, d, "scratch", 0), Budget: time.Duration(number(t, d, "budget", 0))}
	handlers := word(t, d, "handlers", "hpc")
	if strings.Contains(handlers, "h") {
		p.Header = func(tk *Task) Verdict { s.handle(tk); return s.verdicts[0] }
	}
	if strings.Contains(handlers, "p") {
		p.Payload = func(tk *Task) Verdict { s.handle(tk); return s.verdicts[1] }
	}
	if strings.Contains(handlers, "c") {
		p.Completion = func(tk *Task) {
			s.handle(tk)
			s.say("  it is told: %d bytes, %d dropped, failed %v", tk.Total(), tk.Dropped(), tk.Failed())
		}
	}
	in, err := s.machine.install(uint8(id), p)
	if err != nil {
		s.say("%v", err)
		return
	}
	s.installed[id] = in
}

// handle is what every handler does.
func (s *transcript) handle(t *Task) {
	if t.in.program.Resident {
		s.say("  %s runs", s.name(t))
	}
	if s.panics == t.kind.String() {
		s.panics = ""
		panic("told to")
	}
}

func (s *transcript) doPacket(t *testing.T, d *datadriven.TestData) {
	p := packet{msg: uint64(number(t, d, "msg", 0)), peer: int32(number(t, d, "peer", 0)), offset: uint64(number(t, d, "at", 0)),
		first: d.HasArg("first"), last: d.HasArg("last"), payload: make([]byte, number(t, d, "size", 64)),
		hdr: Header{Program: uint8(number(t, d, "to", 1))}}
	before := s.machine.account().DroppedPackets
	if !s.machine.deliver(&p) {
		s.say("  stays on the wire")
	}
	if s.machine.account().DroppedPackets > before {
		s.say("  dropped")
	}
}

func (s *transcript) doVerdict(t *testing.T, d *datadriven.TestData) {
	for v := Process; v <= Retry; v++ {
		for i, name := range []string{"header", "payload"} {
			if word(t, d, name, "") == v.String() {
				s.verdicts[i] = v
			}
		}
	}
}

func (s *transcript) doPanic(t *testing.T, d *datadriven.TestData) { s.panics = word(t, d, "in", "") }

// take finds a running handler.
func (s *transcript) take(t *testing.T, d *datadriven.TestData) *Task {
	msg, kind := uint64(number(t, d, "msg", 0)), word(t, d, "kind", "")
	for i, tk := range s.held {
		if tk.packet.msg == msg && tk.kind.String() == kind {
			s.held = append(s.held[:i:i], s.held[i+1:]...)
			return tk
		}
	}
	d.Fatalf(t, "no %s handler of message %d runs", kind, msg)
	return nil
}

func (s *transcript) doReturn(t *testing.T, d *datadriven.TestData) {
	if !d.HasArg("all") {
		s.finish(s.take(t, d), time.Duration(number(t, d, "after", 0)))
		return
	}
	for len(s.held) > 0 {
		tk := s.held[0]
		s.held = s.held[1:]
		s.say("%s returns", s.name(tk))
		s.finish(tk, 0)
	}
}

func (s *transcript) finish(t *Task, took time.Duration) {
	t.execute()
	s.machine.done(t, took)
}

func (s *transcript) doLate(t *testing.T, d *datadriven.TestData) {
	tk := s.take(t, d)
	s.machine.overrun(tk, time.Duration(number(t, d, "after", 0)))
	s.say("  the handler is cut off")
	s.held = append(s.held, tk) // it returns in the end
}

func (s *transcript) doDown(t *testing.T, d *datadriven.TestData) {
	s.machine.peerDown(int32(number(t, d, "peer", 0)))
}

func (s *transcript) doStop(t *testing.T, d *datadriven.TestData) {
	s.installed[number(t, d, "id", 1)].Stop()
}

func (s *transcript) doState(*testing.T, *datadriven.TestData) {
	for i := range s.machine.flows.flows {
		if f := &s.machine.flows.flows[i]; f.state != flowFree {
			s.say("message %d of %s: %v, %d in flight", f.msg, f.in.Name(), f.state, f.inFlight)
		}
	}
	for i := range s.machine.clusters {
		c := &s.machine.clusters[i]
		s.say("cluster %d: %d running, %d queued", i, c.load-c.n, c.n)
	}
	a := s.machine.account()
	s.say("NIC memory %d of %d, packets %d", a.MemoryUsed, a.MemorySize, a.PacketMemoryUsed)
}

func (s *transcript) doEvents(t *testing.T, d *datadriven.TestData) {
	in := s.installed[number(t, d, "id", 1)]
	for {
		e, ok := in.Events().Poll()
		if !ok {
			return
		}
		by := fmt.Sprintf(" by %v handler", e.Handler)
		if e.Kind == EventPeerLost {
			by = ""
		}
		s.say("%v%s, message %d from peer %d", e.Kind, by, e.Message, e.Peer)
		if e.Fault != nil {
			s.say("  %v", e.Fault)
		}
	}
}

func (s *transcript) doAccount(*testing.T, *datadriven.TestData) {
	a := s.machine.account()
	s.say("handlers: %d header, %d payload, %d completion", a.Headers, a.Payloads, a.Completions)
	s.say("taken: %d packets of %d messages, %d bytes; refused %d", a.Packets, a.Messages, a.Bytes, a.Refused)
	s.say("dropped: %d packets, %d bytes; %d messages, %d failed, %d strays, %d unknown",
		a.DroppedPackets, a.DroppedBytes, a.Dropped, a.Failed, a.Strays, a.Unknown)
	s.say("faults: %d, programs stopped: %d", a.Faults, a.Stopped)
}
