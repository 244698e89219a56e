package nicrt

import "testing"

// BenchmarkDirect measures a single-packet message for a resident program with
// only a header handler; BenchmarkDirectCall, to be subtracted, the handler
// alone.
func BenchmarkDirect(b *testing.B) {
	m, _ := newTestMachine(machineConfig{})
	sum := 0
	mustInstall(b, m, 1, Program{Resident: true, Header: func(t *Task) Verdict {
		sum += len(t.Payload())
		return Process
	}})
	p := message(1, 0, 1, "12345678", 1)[0]
	b.ReportAllocs()
	for b.Loop() {
		p.msg++
		if !m.deliver(&p) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkDirectCall(b *testing.B) {
	m, _ := newTestMachine(machineConfig{})
	sum := 0
	in := mustInstall(b, m, 1, Program{Resident: true, Header: func(t *Task) Verdict {
		sum += len(t.Payload())
		return Process
	}})
	p := message(1, 0, 1, "12345678", 1)[0]
	m.inline.packet = &p
	b.ReportAllocs()
	for b.Loop() {
		p.msg++
		in.program.Header(&m.inline)
	}
}

// BenchmarkResident measures a message of eight packets through all three
// handlers of a resident program, BenchmarkIsolated of one whose packets pass
// through NIC memory, the scheduler and an HPU run inline.
func BenchmarkResident(b *testing.B) { benchmarkMessage(b, true) }
func BenchmarkIsolated(b *testing.B) { benchmarkMessage(b, false) }

func benchmarkMessage(b *testing.B, resident bool) {
	m, _ := newTestMachine(machineConfig{})
	sum := 0
	mustInstall(b, m, 1, Program{Resident: resident,
		Header:     func(t *Task) Verdict { return Process },
		Payload:    func(t *Task) Verdict { sum += len(t.Payload()); return Process },
		Completion: func(t *Task) {}})
	list := message(1, 0, 1, string(make([]byte, 8*1024)), 8)
	b.ReportAllocs()
	b.SetBytes(8 * 1024)
	for b.Loop() {
		for i := range list {
			list[i].msg++
			if !m.deliver(&list[i]) {
				b.Fatal("refused")
			}
		}
	}
}

// BenchmarkSend measures a resident handler that answers each message.
func BenchmarkSend(b *testing.B) {
	port := &countingPort{}
	m, _ := newTestMachine(machineConfig{port: port})
	mustInstall(b, m, 1, Program{Resident: true, Header: func(t *Task) Verdict {
		if t.Send(t.Peer(), t.Header(), t.Payload()) != nil {
			return Fail
		}
		return Process
	}})
	p := message(1, 0, 1, "12345678", 1)[0]
	b.ReportAllocs()
	for b.Loop() {
		if !m.deliver(&p) {
			b.Fatal("refused")
		}
	}
	if port.n == 0 {
		b.Fatal("nothing sent")
	}
}

// countingPort takes everything and keeps nothing.
type countingPort struct{ n int }

func (p *countingPort) send(int, *Header, []byte) bool { p.n++; return true }
func (p *countingPort) increment(uint32, int64) error  { p.n++; return nil }
