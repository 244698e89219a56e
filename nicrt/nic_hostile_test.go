package nicrt

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// sendRaw puts a packet on the wire that no NIC would send. It waits for room.
func sendRaw(t *testing.T, nics []*NIC, from, to int, packet []byte) {
	t.Helper()
	n := nics[from]
	runUntil(t, nics, "room on the wire", func() bool {
		return under(n, func() bool { return n.connect(to) && n.eng.SendNow(n.peers[to].qp, packet, nil) })
	})
}

func rawMessage(h Header, payload ...byte) []byte {
	b := make([]byte, HeaderLen)
	h.Encode(b)
	return append(b, payload...)
}

// TestHostilePackets sends a NIC what makes no sense. It is counted, and does no harm to what goes on beside.
func TestHostilePackets(t *testing.T) {
	const group = 5
	forged := func(op uint8, change func(*Header)) Header {
		h := Header{Program: ScheduleProgram, Op: op, Ctx: group, Aux: 1, Tag: runTag(1<<20, 0)}
		if change != nil {
			change(&h)
		}
		return h
	}
	for _, c := range []struct {
		name   string
		packet []byte
		count  func(*Account) uint64 // where it shows
	}{
		{"nothing", nil, func(a *Account) uint64 { return a.Strays }},
		{"half a header", make([]byte, HeaderLen-1), func(a *Account) uint64 { return a.Strays }},
		{"unknown program", rawMessage(Header{Program: 200}, 1, 2), func(a *Account) uint64 { return a.Unknown }},
		{"group beyond all", rawMessage(forged(msgEager, func(h *Header) { h.Ctx = 1<<32 - 1 })), func(a *Account) uint64 { return a.Failed }},
		{"operation 0", rawMessage(forged(0, nil)), func(a *Account) uint64 { return a.Failed }},
		{"operation 255", rawMessage(forged(255, nil)), func(a *Account) uint64 { return a.Failed }},
		{"operation 255 of no group", rawMessage(forged(255, func(h *Header) { h.Ctx = 99 })), func(a *Account) uint64 { return a.Failed }},
		{"sender that is not a member", rawMessage(forged(msgEager, func(h *Header) { h.Aux = 9 })), func(a *Account) uint64 { return a.Failed }},
		{"sender that is the receiver", rawMessage(forged(msgAbortGroup, func(h *Header) { h.Aux = 0 })), func(a *Account) uint64 { return a.Failed }},
		{"end of a read of no run", rawMessage(forged(msgFinish, nil)), func(a *Account) uint64 { return a.Failed }},
	} {
		t.Run(c.name, func(t *testing.T) {
			overFabrics(t, func(t *testing.T, f testFabric) {
				nics := openMesh(t, f, 2)
				groups := meshGroup(t, nics, group) // member 0 is NIC 1, which is attacked by NIC 0
				sendRaw(t, nics, 0, 1, c.packet)
				runUntil(t, nics, "the count", func() bool { a := nics[1].Account(); return c.count(&a) == 1 })
				call := newCall(t, collectiveCalled("chain"), 2, 52, 3, rand.New(rand.NewPCG(1, 1)))
				startAll(t, nics, groups, call)
				waitAll(t, nics, call)
				call.check(t)
				if a := nics[1].Account(); c.count(&a) != 1 || a.Faults != 0 {
					t.Errorf("counted %d times, %d faults", c.count(&a), a.Faults)
				}
			})
		})
	}
}

// TestLongMessageToSchedules posts messages of several packets to programs that take single packets, or that are not there.
func TestLongMessageToSchedules(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		long := make([]byte, 3*nics[0].EagerMax())
		for _, program := range []uint8{ScheduleProgram, 200} {
			done := mustPost(t, nics[0], 1, Header{Program: program, Op: msgEager}, long)
			runUntil(t, nics, "the end of the post", done.Done)
		}
		groups := meshGroup(t, nics, 5)
		call := newCall(t, collectiveCalled("ring"), 2, 52, 1, rand.New(rand.NewPCG(1, 1)))
		startAll(t, nics, groups, call)
		waitAll(t, nics, call)
		call.check(t)
		if a := nics[1].Account(); a.Failed != 1 || a.Unknown != 1 || a.Strays == 0 {
			t.Errorf("%d failed, %d unknown, %d strays", a.Failed, a.Unknown, a.Strays)
		}
	})
}

// TestRandomPackets sends a NIC random headers and payloads, some of them close to right ones, while another peer uses it.
// What it keeps of them is bounded.
func TestRandomPackets(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 3)
		const attacker = 2
		install(t, nics[0], 9, Program{Name: "echo", Header: func(t *Task) Verdict {
			t.Send(t.Peer(), t.Header(), t.Payload())
			return Process
		}})
		pair := meshGroup(t, nics[:2], 6)
		rng := rand.New(rand.NewPCG(3, 3))
		for round := range 20 {
			for range 50 {
				h := Header{Program: []uint8{ScheduleProgram, 9, 77}[rng.IntN(3)], Op: uint8(rng.IntN(8)), Aux: uint16(rng.IntN(4)),
					Ctx: uint32(rng.IntN(9)), Tag: rng.Uint64() >> rng.IntN(64)}
				packet := rawMessage(h, bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(200))...)
				sendRaw(t, nics, attacker, 0, packet[:rng.IntN(len(packet)+1)])
			}
			call := newCall(t, collectiveCalled("chain"), 2, 52, 2, rand.New(rand.NewPCG(1, uint64(round))))
			startAll(t, nics[:2], pair, call)
			waitAll(t, nics[:2], call)
			call.check(t)
		}
		a := nics[0].Account()
		if a.Packets+a.Strays+a.Unknown < 1000 || a.Faults != 0 || a.MemoryUsed > defaultNICMemory/2 || a.EarlyBytes > 1<<20 {
			t.Errorf("%d packets, %d strays, %d unknown, %d faults, %d bytes used, %d kept", a.Packets, a.Strays, a.Unknown, a.Faults,
				a.MemoryUsed, a.EarlyBytes)
		}
	})
}
