package nicrt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// collector is a program that writes each message to host memory by DMA, packet by packet, and tells its
// host the length.
func collector(host HostMemory, resident bool) Program {
	return Program{
		Name: "collector", Resident: resident,
		Payload: func(t *Task) Verdict {
			t.WriteHost(host, t.Offset(), t.Payload())
			return Process
		},
		Completion: func(t *Task) { t.Notify(t.Total()) },
	}
}

// TestPostLengths posts messages of all kinds of lengths to another NIC and to the sender itself.
func TestPostLengths(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		eager := nics[0].EagerMax()
		mtu := eager + HeaderLen
		for _, to := range []int{1, 0} {
			for _, resident := range []bool{true, false} {
				t.Run(fmt.Sprintf("to %d/resident %v", to, resident), func(t *testing.T) {
					host := make([]byte, 1<<20)
					region, err := nics[to].Register(host, HostWrite)
					if err != nil {
						t.Fatal(err)
					}
					in := install(t, nics[to], 9, collector(region, resident))
					defer in.Stop()
					for _, n := range []int{0, 1, eager - 1, eager, eager + 1, mtu, 2*mtu - HeaderLen, 2*mtu - HeaderLen + 1, 5*mtu + 77, 1 << 20} {
						locked(nics[to], func() { clear(host) }) // the race detector does not see what shm orders
						payload := randomBytes(n, uint64(n))
						done := mustPost(t, nics[0], to, Header{Program: 9, Tag: uint64(n)}, payload)
						runUntil(t, nics, fmt.Sprintf("%d bytes", n), func() bool { return done.Done() && in.Events().Len() > 0 })
						if e, _ := in.Events().Poll(); e.Kind != EventNotify || e.Value != uint64(n) || done.Err() != nil {
							t.Fatalf("%d bytes: event %+v, error %v", n, e, done.Err())
						}
						if !bytes.Equal(host[:n], payload) {
							t.Fatalf("%d bytes arrived changed", n)
						}
					}
					if err := in.Err(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	})
}

// TestPostOrder posts and sends more than the connection holds before the other side looks.
func TestPostOrder(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		var got []uint64
		install(t, nics[1], 9, Program{Name: "order", Resident: true, Payload: func(*Task) Verdict { return Process },
			Completion: func(t *Task) { got = append(got, t.Header().Tag) }})
		long := randomBytes(3*nics[0].EagerMax(), 1)
		var want []uint64
		var posted []*Completion
		for i := range uint64(200) {
			h := Header{Program: 9, Tag: i}
			switch i % 3 {
			case 0:
				posted = append(posted, mustPost(t, nics[0], 1, h, long))
			case 1:
				posted = append(posted, mustPost(t, nics[0], 1, h, long[:5]))
			case 2:
				if !under(nics[0], func() bool { return nics[0].Send(1, &h, long[:8]) }) {
					continue
				}
			}
			want = append(want, i)
		}
		runUntil(t, nics, "all messages", func() bool { return under(nics[1], func() int { return len(got) }) == len(want) })
		if !slices.Equal(got, want) {
			t.Errorf("messages arrived as %v, want %v", got, want)
		}
		runUntil(t, nics, "the ends of all posts", func() bool {
			return !slices.ContainsFunc(posted, func(c *Completion) bool { return !c.Done() })
		})
		for i, c := range posted {
			if c.Err() != nil {
				t.Errorf("post %d: %v", i, c.Err())
			}
		}
		if live := under(nics[0], func() int { return nics[0].requests.live }); live != 0 {
			t.Errorf("%d requests are left", live)
		}
	})
}

// TestPostBackPressure sends far more than packet memory holds to handlers that are stuck for a while.
func TestPostBackPressure(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		gate := make(chan struct{})
		in := install(t, nics[1], 9, Program{Name: "slow", Payload: func(t *Task) Verdict { <-gate; return Process },
			Completion: func(t *Task) { t.Notify(t.Total()) }})
		payload := make([]byte, 8<<20)
		done := mustPost(t, nics[0], 1, Header{Program: 9}, payload)
		runUntil(t, nics, "a refusal", func() bool { return nics[1].Account().Refused > 0 })
		if done.Done() {
			t.Error("the message has left although its receiver has no room for it")
		}
		close(gate)
		if e := event(t, nics[1], in); e.Kind != EventNotify || e.Value != uint64(len(payload)) {
			t.Errorf("event %+v, want all %d bytes", e, len(payload))
		}
		if err := ends(t, nics[0], done); err != nil {
			t.Error(err)
		}
		runUntil(t, nics, "free packet memory", func() bool { return nics[1].Account().PacketMemoryUsed == 0 })
		if a := nics[1].Account(); a.PacketMemoryPeak > defaultPacketMemory || a.MemoryPeak > defaultNICMemory {
			t.Errorf("packet memory %d at most, NIC memory %d at most", a.PacketMemoryPeak, a.MemoryPeak)
		}
	})
}

// TestPostToLostPeer ends all messages, on the wire or not, when their peer closes.
func TestPostToLostPeer(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		install(t, nics[1], 9, Program{Name: "refuses", Resident: true, Header: func(*Task) Verdict { return Retry }})
		long := make([]byte, 1<<20)
		var posted []*Completion
		for range 2 * sendDepth {
			posted = append(posted, mustPost(t, nics[0], 1, Header{Program: 9}, long))
		}
		if err := nics[1].Close(); err != nil {
			t.Fatal(err)
		}
		for i, c := range posted {
			var lost *PeerError
			if err := ends(t, nics[0], c); !errors.As(err, &lost) || lost.Peer != 1 {
				t.Fatalf("post %d ended with %v, want the loss of peer 1", i, err)
			}
		}
		nics[0].Lock()
		defer nics[0].Unlock()
		var lost *PeerError
		if err := nics[0].Post(1, &Header{}, nil, new(Completion)); !errors.As(err, &lost) {
			t.Errorf("post to a lost peer: %v, want a *PeerError", err)
		}
		if nics[0].requests.live != 0 {
			t.Errorf("%d requests are left", nics[0].requests.live)
		}
	})
}

// TestPostFromNotify posts the next message from the end of the last.
func TestPostFromNotify(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		const total = 100
		got := 0
		install(t, nics[1], 9, Program{Name: "count", Resident: true, Completion: func(*Task) { got++ }})
		payload := randomBytes(2*nics[0].EagerMax(), 3)
		left := total
		var done Completion
		done.Notify = func(c *Completion) {
			if left--; left > 0 {
				if err := nics[0].Post(1, &Header{Program: 9}, payload, c); err != nil {
					t.Error(err)
				}
			}
		}
		locked(nics[0], func() {
			if err := nics[0].Post(1, &Header{Program: 9}, payload, &done); err != nil {
				t.Error(err)
			}
		})
		runUntil(t, nics, "all messages", func() bool {
			return under(nics[1], func() int { return got }) == total && under(nics[0], func() int { return left }) == 0
		})
	})
}
