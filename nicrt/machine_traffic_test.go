package nicrt

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMalformedTraffic(t *testing.T) {
	whole := message(1, 0, 5, "xy", 1)[0]
	parts := message(1, 0, 6, "abcd", 2)
	for _, c := range []struct {
		name    string
		packets []packet
		strays  uint64
		unknown uint64
	}{
		{"middle of nothing", []packet{{peer: 1, msg: 3}}, 1, 0},
		{"end of nothing", []packet{{peer: 1, msg: 3, last: true}}, 1, 0},
		{"no such program", []packet{{first: true, last: true, hdr: Header{Program: 9}}}, 0, 1},
		{"begun twice", []packet{parts[0], parts[0], parts[1]}, 1, 0},
		{"ended twice", []packet{parts[0], parts[1], parts[1]}, 1, 0},
		{"same number from another peer", []packet{parts[0], {peer: 1, msg: 6, last: true}, parts[1]}, 1, 0},
		{"whole inside parts", []packet{parts[0], whole, parts[1]}, 0, 0},
		{"negative peer", []packet{{peer: -5, msg: 1 << 63, first: true, hdr: Header{Program: 1}}, {peer: -5, msg: 1 << 63, last: true}}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, resident bool) {
				m, _ := newTestMachine(machineConfig{})
				begun, ended := 0, 0
				mustInstall(t, m, 1, Program{Resident: resident,
					Header:     func(tk *Task) Verdict { begun++; return Process },
					Completion: func(tk *Task) { ended++ }})
				deliverAll(t, m, c.packets)
				if a := m.account(); a.Strays != c.strays || a.Unknown != c.unknown || a.DroppedPackets != c.strays+c.unknown {
					t.Errorf("%d strays, %d unknown, %d dropped; want %d, %d", a.Strays, a.Unknown, a.DroppedPackets, c.strays, c.unknown)
				}
				if begun != ended {
					t.Errorf("%d messages begun, %d ended", begun, ended)
				}
				checkIdle(t, m)
			})
		})
	}
}

// TestPacketAfterTheEnd adds a packet to a message that has ended and is still
// with its handlers.
func TestPacketAfterTheEnd(t *testing.T) {
	r := &heldTasks{}
	m, _ := newTestMachine(machineConfig{})
	r.machine, m.runner = m, r
	in := mustInstall(t, m, 1, Program{Payload: func(*Task) Verdict { return Process }})
	list := message(1, 0, 1, "abcd", 2)
	deliverAll(t, m, append(list, list[1]))
	for len(r.held) > 0 {
		r.finish(0)
	}
	if a := m.account(); a.Strays != 1 || in.Account().Payloads != 2 {
		t.Errorf("%d strays, %d handlers, want 1 and 2", a.Strays, in.Account().Payloads)
	}
	checkIdle(t, m)
}

// TestSteeringEndsWithItsMessage proceeds without a place, after a message that
// named one and did not use it.
func TestSteeringEndsWithItsMessage(t *testing.T) {
	for _, c := range []struct {
		name       string
		completion func(*Task)
	}{{"direct", nil}, {"with completion", func(*Task) {}}} {
		t.Run(c.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, resident bool) {
				m, _ := newTestMachine(machineConfig{})
				host := &hostWindow{bytes: []byte("...."), canWrite: true}
				in := mustInstall(t, m, 1, Program{Resident: resident, Completion: c.completion, Header: func(tk *Task) Verdict {
					switch tk.Message() {
					case 1:
						tk.Steer(host, 0)
						return Process
					case 3:
						tk.Steer(host, 1)
					}
					return Proceed
				}})
				for msg := range uint64(5) {
					deliverAll(t, m, message(1, 0, msg, "xy", 1))
				}
				if a := in.Account(); string(host.bytes) != ".xy." || a.DroppedBytes != 6 || a.BytesToHost != 2 {
					t.Errorf("host has %q, %d bytes dropped, %d written; want \".xy.\", 6 and 2", host.bytes, a.DroppedBytes, a.BytesToHost)
				}
			})
		})
	}
}

// TestMemoryOfAnotherProgram looks for what a program left behind.
func TestMemoryOfAnotherProgram(t *testing.T) {
	eachKind(t, func(t *testing.T, resident bool) {
		m, _ := newTestMachine(machineConfig{memory: newMemoryOf(8192), packetMemory: 1024})
		for round := range 2 {
			in := mustInstall(t, m, 1, Program{Resident: resident, Memory: 256, Scratch: 100, Header: func(tk *Task) Verdict {
				for _, b := range [][]byte{tk.Memory(), tk.Scratch()} {
					for i := range b {
						if b[i] != 0 {
							t.Fatalf("round %d: byte %d is %d", round, i, b[i])
						}
						b[i] = 0xee
					}
				}
				return Process
			}})
			deliverAll(t, m, message(1, 0, 1, "", 1))
			if in.Err() != nil {
				t.Fatal(in.Err())
			}
			in.Stop()
		}
	})
}

func TestPayloadLargerThanPacketMemory(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 5000)
	m, _ := newTestMachine(machineConfig{packetMemory: 4096})
	completions := 0
	in := mustInstall(t, m, 1, Program{Completion: func(tk *Task) {
		completions++
		if !tk.Failed() {
			t.Error("completion of a whole message")
		}
	}})
	deliverAll(t, m, []packet{
		{msg: 1, first: true, payload: big, hdr: Header{Program: 1}},
		{msg: 1, last: true},
		{msg: 2, first: true, hdr: Header{Program: 1}},
		{msg: 2, payload: big},
		{msg: 2, last: true},
	})
	if a := m.account(); completions != 1 || a.Strays != 1 || in.Account().Failed != 1 || in.Account().Dropped != 1 {
		t.Errorf("%d completions, account %+v", completions, a)
	}
	checkIdle(t, m)
}

func TestPeerDown(t *testing.T) {
	eachKind(t, func(t *testing.T, resident bool) {
		m, _ := newTestMachine(machineConfig{})
		var ended []string
		in := mustInstall(t, m, 1, Program{Resident: resident,
			Header: func(tk *Task) Verdict { return Process },
			Completion: func(tk *Task) {
				ended = append(ended, fmt.Sprint(tk.Message(), tk.Failed(), tk.Last(), len(tk.Payload()), tk.Header().Program))
			}})
		lost, other := message(1, 2, 1, "abcdef", 3), message(1, 3, 1, "abcdef", 3)
		deliverAll(t, m, lost[:2])
		deliverAll(t, m, other[:2])
		m.peerDown(2)
		m.peerDown(2)
		deliverAll(t, m, lost[2:])
		deliverAll(t, m, other[2:])
		if got, want := strings.Join(ended, "; "), "1 true false 0 1; 1 false true 2 1"; got != want {
			t.Errorf("completions %q, want %q", got, want)
		}
		if a := m.account(); a.Failed != 1 || a.Strays != 1 {
			t.Errorf("%d failed, %d strays, want 1 and 1", a.Failed, a.Strays)
		}
		if e, _ := in.Events().Poll(); e.Kind != EventPeerLost || e.Peer != 2 {
			t.Errorf("event %+v, want the failure of peer 2's message", e)
		}
		checkIdle(t, m)
	})
}

func TestAccountSumsPrograms(t *testing.T) {
	m, _ := newTestMachine(machineConfig{})
	handler := func(tk *Task) Verdict { tk.AddMatches(2); tk.AddReduced(30); return Process }
	resident := mustInstall(t, m, 1, Program{Resident: true, Header: handler})
	isolated := mustInstall(t, m, 2, Program{Header: handler, Memory: 100, Scratch: 8})
	deliverAll(t, m, message(1, 0, 1, "abc", 1))
	deliverAll(t, m, message(2, 0, 1, "abcdefg", 2))
	if a := isolated.Account(); a.Matches != 2 || a.BytesReduced != 30 || a.MemoryUsed != 128+64*32 {
		t.Errorf("isolated: %+v", a)
	}
	check := func(when string, used int) {
		t.Helper()
		a := m.account()
		if a.Matches != 4 || a.BytesReduced != 60 || a.Bytes != 10 || a.MemoryUsed != used {
			t.Errorf("%s: %+v, want %d bytes in use", when, a, used)
		}
	}
	check("installed", 128+64*32+defaultPacketMemory)
	isolated.Stop()
	check("isolated gone", 0)
	resident.Stop()
	check("both gone", 0)
	if a := m.account(); a.PacketMemoryPeak != 64 {
		t.Errorf("peak of packet memory %d, want 64", a.PacketMemoryPeak)
	}
}

func TestInlineBudget(t *testing.T) {
	eachKind(t, func(t *testing.T, resident bool) {
		now := time.Duration(0)
		m, _ := newTestMachine(machineConfig{clock: func() time.Duration { return now }})
		in := mustInstall(t, m, 1, Program{Resident: resident, Budget: 10 * time.Microsecond,
			Header: func(tk *Task) Verdict { now += time.Duration(tk.Header().Tag); return Process }})
		p := message(1, 0, 1, "", 1)[0]
		p.hdr.Tag = 10_000
		deliverAll(t, m, []packet{p})
		if in.Err() != nil {
			t.Fatalf("stopped within its budget: %v", in.Err())
		}
		p.hdr.Tag++
		deliverAll(t, m, []packet{p})
		var b *BudgetError
		if !errors.As(in.Err(), &b) || b.Took != 10_001 || b.Budget != 10_000 {
			t.Errorf("error %v, want 10.001µs of 10µs", in.Err())
		}
		checkIdle(t, m)
	})
}
