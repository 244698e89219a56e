package nicrt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// testPort is the NIC around a machine: a wire with room for a number of
// messages and a bank of counters.
type testPort struct {
	room     int // messages the wire takes; negative: any number
	sent     []testMessage
	counters []int64
}

type testMessage struct {
	peer    int
	hdr     Header
	payload string
}

var errNoCounter = errors.New("no such counter")

func (p *testPort) send(peer int, h *Header, payload []byte) bool {
	if p.room == 0 {
		return false
	}
	p.room--
	p.sent = append(p.sent, testMessage{peer, *h, string(payload)})
	return true
}

func (p *testPort) increment(counter uint32, n int64) error {
	if int(counter) >= len(p.counters) {
		return errNoCounter
	}
	p.counters[counter] += n
	return nil
}

func newTestMachine(c machineConfig) (*machine, *testPort) {
	port := &testPort{room: -1, counters: make([]int64, 4)}
	if c.port == nil {
		c.port = port
	}
	if c.peers == 0 {
		c.peers = 8
	}
	return newMachine(c), port
}

func mustInstall(t testing.TB, m *machine, id uint8, p Program) *Installed {
	t.Helper()
	if p.Name == "" {
		p.Name = "test"
	}
	in, err := m.install(id, p)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// message cuts payload into n packets.
func message(id uint8, peer int32, msg uint64, payload string, n int) []packet {
	list := make([]packet, n)
	size := (len(payload) + n - 1) / n
	for i := range list {
		from, to := min(i*size, len(payload)), min((i+1)*size, len(payload))
		list[i] = packet{peer: peer, msg: msg, hdr: Header{Program: id}, offset: uint64(from),
			payload: []byte(payload[from:to]), first: i == 0, last: i == n-1}
	}
	return list
}

func deliverAll(t testing.TB, m *machine, list []packet) {
	t.Helper()
	for i := range list {
		if !m.deliver(&list[i]) {
			t.Fatalf("packet %d of %d was refused", i, len(list))
		}
	}
}

// checkIdle checks that nothing is left of any message.
func checkIdle(t testing.TB, m *machine) {
	t.Helper()
	if n := len(m.flows.free); n != MaxMessages-1 {
		t.Errorf("%d flows free, want all %d", n, MaxMessages-1)
	}
	for i, f := range m.flows.index {
		if f != 0 {
			t.Errorf("index entry %d still leads to flow %d", i, f)
		}
	}
	if m.packets != nil && m.packets.used != 0 {
		t.Errorf("%d bytes of packet memory in use", m.packets.used)
	}
	if len(m.cells.free) != len(m.cells.cells) {
		t.Errorf("%d of %d cells free", len(m.cells.free), len(m.cells.cells))
	}
	for i := range m.clusters {
		c := &m.clusters[i]
		if c.n != 0 || c.load != 0 || c.idle != 1<<m.config.hpus-1 {
			t.Errorf("cluster %d: %d queued, load %d, idle %b", i, c.n, c.load, c.idle)
		}
	}
	if m.ready != (readySet{turn: m.ready.turn}) {
		t.Errorf("ready set %v, want empty", m.ready.bits)
	}
	if len(m.stalled.sends) != 0 {
		t.Errorf("%d sends wait", len(m.stalled.sends))
	}
}

// eachKind runs f for resident and for isolated programs on the inline runner.
func eachKind(t *testing.T, f func(t *testing.T, resident bool)) {
	t.Run("resident", func(t *testing.T) { f(t, true) })
	t.Run("isolated", func(t *testing.T) { f(t, false) })
}

func TestHandlersSeeTheMessage(t *testing.T) {
	eachKind(t, func(t *testing.T, resident bool) {
		m, _ := newTestMachine(machineConfig{})
		var log []string
		note := func(what string, tk *Task) {
			log = append(log, fmt.Sprintf("%s %d/%d [%d]=%q first %v last %v of %d, tag %d",
				what, tk.Peer(), tk.Message(), tk.Offset(), tk.Payload(), tk.First(), tk.Last(), tk.Total(), tk.Header().Tag))
		}
		in := mustInstall(t, m, 3, Program{Resident: resident,
			Header:  func(tk *Task) Verdict { note("header", tk); return Process },
			Payload: func(tk *Task) Verdict { note("payload", tk); return Process },
			Completion: func(tk *Task) {
				note("completion", tk)
			}})
		list := message(3, 2, 77, "abcdef", 2)
		list[0].hdr.Tag = 5
		list[1].hdr = Header{Program: 200, Tag: 6} // means nothing in a later packet
		deliverAll(t, m, list)
		want := []string{
			`header 2/77 [0]="abc" first true last false of 3, tag 5`,
			`payload 2/77 [0]="abc" first true last false of 3, tag 5`,
			`payload 2/77 [3]="def" first false last true of 6, tag 5`,
			`completion 2/77 [3]="def" first false last true of 6, tag 5`,
		}
		if got := strings.Join(log, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("handlers saw\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
		a := in.Account()
		if a.Headers != 1 || a.Payloads != 2 || a.Completions != 1 || a.Messages != 1 || a.Packets != 2 || a.Bytes != 6 {
			t.Errorf("account %+v", a)
		}
		checkIdle(t, m)
	})
}

func TestVerdicts(t *testing.T) {
	const text = "0123456789"
	for _, c := range []struct {
		name            string
		header, payload Verdict
		steerOff        uint64
		payloads        int    // payload handlers run
		dropped         uint64 // what the completion handler is told
		failed          bool
		host            string // host memory of 12 bytes afterwards
	}{
		{name: "process", payloads: 5, host: "............"},
		{name: "drop message", header: Drop, dropped: 10, host: "............"},
		{name: "fail message", header: Fail, dropped: 10, failed: true, host: "............"},
		{name: "drop packets", payload: Drop, payloads: 5, dropped: 10, host: "............"},
		{name: "proceed in payload handler", payload: Proceed, payloads: 5, host: "............"},
		{name: "proceed", header: Proceed, steerOff: 1, host: ".0123456789."},
		{name: "proceed beyond the region", header: Proceed, steerOff: 5, dropped: 4, host: ".....012345."},
		{name: "proceed with an offset that overflows", header: Proceed, steerOff: 1<<64 - 2, dropped: 10, host: "............"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, resident bool) {
				m, _ := newTestMachine(machineConfig{})
				host := &hostWindow{bytes: []byte("............"), canWrite: true}
				payloads, completions := 0, 0
				in := mustInstall(t, m, 1, Program{Resident: resident,
					Header: func(tk *Task) Verdict {
						tk.Steer(host, c.steerOff)
						return c.header
					},
					Payload: func(tk *Task) Verdict { payloads++; return c.payload },
					Completion: func(tk *Task) {
						completions++
						if tk.Dropped() != c.dropped || tk.Failed() != c.failed || tk.Total() != 10 {
							t.Errorf("completion: dropped %d, failed %v, total %d; want %d, %v, 10",
								tk.Dropped(), tk.Failed(), tk.Total(), c.dropped, c.failed)
						}
					}})
				deliverAll(t, m, message(1, 0, 9, text, 5))
				if payloads != c.payloads || completions != 1 {
					t.Errorf("%d payload and %d completion handlers, want %d and 1", payloads, completions, c.payloads)
				}
				if string(host.bytes) != c.host {
					t.Errorf("host has %q, want %q", host.bytes, c.host)
				}
				if got := in.Account().DroppedBytes; got != c.dropped {
					t.Errorf("account says %d bytes dropped, want %d", got, c.dropped)
				}
				e, ok := in.Events().Poll()
				if ok != c.failed || ok && (e.Kind != EventFailed || e.Message != 9) {
					t.Errorf("event %+v, %v; want EventFailed: %v", e, ok, c.failed)
				}
				if in.Err() != nil {
					t.Errorf("program stopped: %v", in.Err())
				}
				checkIdle(t, m)
			})
		})
	}
}

func TestFailInPayloadDropsTheRest(t *testing.T) {
	eachKind(t, func(t *testing.T, resident bool) {
		m, _ := newTestMachine(machineConfig{})
		seen, dropped := 0, uint64(0)
		in := mustInstall(t, m, 1, Program{Resident: resident,
			Payload: func(tk *Task) Verdict {
				if seen++; seen == 2 {
					return Fail
				}
				return Process
			},
			Completion: func(tk *Task) { dropped = tk.Dropped() }})
		deliverAll(t, m, message(1, 0, 1, "aabbccddee", 5))
		if seen != 2 || dropped != 8 || in.Account().Failed != 1 || in.Events().Len() != 1 {
			t.Errorf("saw %d packets, dropped %d bytes, failed %d, events %d; want 2, 8, 1, 1",
				seen, dropped, in.Account().Failed, in.Events().Len())
		}
		checkIdle(t, m)
	})
}

func TestRetry(t *testing.T) {
	for _, packets := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d packets", packets), func(t *testing.T) {
			m, _ := newTestMachine(machineConfig{})
			calls := 0
			in := mustInstall(t, m, 1, Program{Resident: true, Header: func(tk *Task) Verdict {
				if calls++; calls < 3 {
					return Retry
				}
				return Process
			}})
			list := message(1, 0, 1, "abc", packets)
			for range 2 {
				if m.deliver(&list[0]) {
					t.Fatal("packet taken in spite of Retry")
				}
			}
			checkIdle(t, m)
			deliverAll(t, m, list)
			if a := in.Account(); a.Refused != 2 || a.Messages != 1 || a.Packets != uint64(packets) || a.Headers != 3 {
				t.Errorf("account %+v", a)
			}
			checkIdle(t, m)
		})
	}
}
