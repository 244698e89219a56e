package nicrt

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// TestStrayMessages sends messages that no member would send, and checks that
// each is reported and fails no more than the run that it contradicts.
func TestStrayMessages(t *testing.T) {
	offerOf := func(n uint64) []byte {
		var b [offerLen]byte
		(&offer{addr: 1, key: 99, len: n}).encode(&b)
		return b[:]
	}
	tests := []struct {
		name    string
		from    int
		hdr     Header
		payload []byte
		fails   bool // run 0
		want    string
	}{
		{"no such id", 1, Header{Op: msgEager, Ctx: maxGroups}, nil, false, "no group can have this id"},
		{"largest id", 1, Header{Op: msgEager, Ctx: 1<<32 - 1}, nil, false, "no group can have this id"},
		{"unknown operation", 1, Header{Op: 77, Aux: 1}, nil, false, "unknown operation"},
		{"unknown operation, group to come", 1, Header{Op: 0, Ctx: 9}, nil, false, "unknown operation"},
		{"not a member", 2, Header{Op: msgEager, Aux: 1}, nil, false, "not member 1"},
		{"member outside", 1, Header{Op: msgEager, Aux: 3}, nil, false, "not member 3"},
		{"own member", 0, Header{Op: msgEager, Aux: 0}, nil, false, "not member 0"},
		{"closed group", 1, Header{Op: msgEager, Ctx: 4, Aux: 1}, nil, false, "group is closed"},
		{"old run", 1, Header{Op: msgEager, Aux: 1, Tag: runTag(1<<32-1, 0)}, nil, true, "has ended"},
		{"unknown slot", 1, Header{Op: msgEager, Aux: 1, Tag: runTag(0, 1)}, nil, true, "receives no slot 1"},
		{"slot 2^32-1", 1, Header{Op: msgEager, Aux: 1, Tag: 1<<32 - 1}, nil, true, "receives no slot 4294967295"},
		{"too short", 1, Header{Op: msgEager, Aux: 1}, make([]byte, 63), true, "63 bytes, expected 64"},
		{"too long", 1, Header{Op: msgEager, Aux: 1}, make([]byte, 65), true, "65 bytes, expected 64"},
		{"offer too short", 1, Header{Op: msgRequest, Aux: 1}, make([]byte, 19), true, "an offer of 19 bytes"},
		{"offer too long", 1, Header{Op: msgRequest, Aux: 1}, make([]byte, 21), true, "an offer of 21 bytes"},
		{"offer of too much", 1, Header{Op: msgRequest, Aux: 1}, offerOf(1 << 63), true, "9223372036854775808 bytes"},
		{"offer of what is not there", 1, Header{Op: msgRequest, Aux: 1}, offerOf(64), true, ""},
		{"end of no offer", 1, Header{Op: msgFinish, Aux: 1}, nil, true, "nothing was offered"},
		{"end of an unknown slot", 1, Header{Op: msgFinish, Aux: 1, Tag: 5}, nil, true, "nothing was offered"},
		{"end in a run to come", 1, Header{Op: msgFinish, Aux: 1, Tag: runTag(1, 0)}, nil, false, "not in progress"},
		{"abort of an old run", 1, Header{Op: msgAbortRun, Aux: 1, Tag: runTag(1<<32-1, 0)}, nil, false, ""},
		{"abort", 1, Header{Op: msgAbortRun, Aux: 1}, nil, true, ""},
		{"abort of the group", 1, Header{Op: msgAbortGroup, Aux: 1}, nil, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			net := newTestNet(t, 3, 1, execConfig{eagerMax: 64})
			e := net.nodes[0].exec
			closed, err := e.group(4, []int{0, 1}, 0)
			if err != nil {
				t.Fatal(err)
			}
			e.failGroup(closed, errTestLoss)
			if err := closed.close(); err != nil {
				t.Fatal(err)
			}
			g, err := e.group(0, []int{0, 1, 2}, 0)
			if err != nil {
				t.Fatal(err)
			}
			s := pairSchedule(0, 64, 4)
			s.Peers = 3
			c, err := Compile(s)
			if err != nil {
				t.Fatal(err)
			}
			var done Completion
			if _, err := g.start(c, make([]byte, 64), make([]byte, 64), composeKernel, 1, &done); err != nil {
				t.Fatal(err)
			}
			taken, err := e.deliver(tt.from, &tt.hdr, tt.payload)
			var me *MessageError
			switch {
			case !taken:
				t.Error("refused")
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.want != "" && (!errors.As(err, &me) || !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want a *MessageError with %q", err, tt.want)
			}
			if done.Done() != tt.fails || tt.fails && done.Err() == nil {
				t.Errorf("the run has ended: %v, want %v; its error is %v", done.Done(), tt.fails, done.Err())
			}
			if !tt.fails {
				if _, err := e.deliver(1, &Header{Op: msgEager, Aux: 1}, make([]byte, 64)); err != nil || done.Err() != nil {
					t.Errorf("the run does not end well: %v, %v", err, done.Err())
				}
			}
		})
	}
}

// TestDuplicates sends the same message twice, before and after its operation
// is ready.
func TestDuplicates(t *testing.T) {
	net := newTestNet(t, 2, 1, execConfig{eagerMax: 64})
	e := net.nodes[0].exec
	g, err := e.group(0, []int{0, 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &Schedule{Name: "two", Peers: 2, Output: 16, Ops: []SchedOp{
		{Kind: Recv, Peer: 1, Slot: 0, Dst: Span{Output, 0, 8}},
		{Kind: Recv, Peer: 1, Slot: 1, Dst: Span{Output, 8, 8}, After: []int{0}},
	}}
	c, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range []uint32{0, 1} {
		var done Completion
		if _, err := g.start(c, nil, make([]byte, 16), nil, 1, &done); err != nil {
			t.Fatal(err)
		}
		h := &Header{Op: msgEager, Aux: 1, Tag: runTag(g.next-1, slot)}
		if _, err := e.deliver(1, h, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		if _, err := e.deliver(1, h, make([]byte, 8)); !errors.Is(err, ErrMessage) || !done.Done() || !strings.Contains(err.Error(), "has come before") {
			t.Errorf("slot %d again: %v, the run has ended: %v", slot, err, done.Done())
		}
	}
	// Twice before the run.
	var done Completion
	h := &Header{Op: msgEager, Aux: 1, Tag: runTag(g.next, 0)}
	for range 2 {
		if taken, err := e.deliver(1, h, make([]byte, 8)); !taken || err != nil {
			t.Fatal(taken, err)
		}
	}
	if _, err := g.start(c, nil, make([]byte, 16), nil, 1, &done); err != nil || !errors.Is(done.Err(), ErrMessage) {
		t.Errorf("start %v, run %v", err, done.Err())
	}
	net.checkClean(t)
}

// FuzzDeliver delivers arbitrary messages to an executor with runs in progress
// and runs to come. Nothing may panic, and after the group is given up nothing
// may be left.
func FuzzDeliver(f *testing.F) {
	message := func(b []byte, peer byte, h Header, payload []byte) []byte {
		var hb [HeaderLen]byte
		h.Encode(hb[:])
		b = append(b, peer, byte(len(payload)))
		return append(append(b, hb[:]...), payload...)
	}
	seed := message(nil, 1, Header{Op: msgEager, Aux: 1, Tag: runTag(0, 0)}, make([]byte, 8))
	seed = message(seed, 1, Header{Op: msgRequest, Aux: 1, Tag: runTag(1, 0)}, make([]byte, offerLen))
	seed = message(seed, 2, Header{Op: msgFinish, Aux: 2, Tag: runTag(0, 0)}, nil)
	f.Add(seed)
	f.Add(message(nil, 2, Header{Op: msgAbortRun, Aux: 2, Tag: runTag(4, 0)}, nil))
	f.Add(message(seed, 1, Header{Op: msgAbortGroup, Aux: 1}, nil))
	f.Add(message(nil, 1, Header{Op: msgEager, Ctx: 3, Aux: 1, Tag: 5 << 32}, []byte("abcdefgh")))
	f.Fuzz(func(t *testing.T, data []byte) {
		net := newTestNet(t, 3, 1, execConfig{eagerMax: 8, chunk: 8, window: 4, keepMax: 4 << 10})
		net.late = 0.5
		e := net.nodes[0].exec
		groups := []*group{}
		for id := range uint32(2) {
			g, err := e.group(id, []int{0, 1, 2}, 0)
			if err != nil {
				t.Fatal(err)
			}
			groups = append(groups, g)
		}
		calls := []*testCall{newCall(t, &collectives[3], 3, 8, 1, net.rng), newCall(t, &collectives[4], 3, 24, 3, net.rng),
			newCall(t, &collectives[6], 3, 8, 1, net.rng), newCall(t, &collectives[1], 3, 32, 2, net.rng)}
		for i, call := range calls[:3] {
			call.start(t, groups[i%2], 0)
		}
		for n := 0; len(data) >= 2+HeaderLen; n++ {
			peer, size := int(data[0]%3), int(data[1])
			var h Header
			h.Decode(data[2:])
			data = data[2+HeaderLen:]
			size = min(size, len(data))
			if _, err := e.deliver(peer, &h, data[:size]); err != nil && !errors.Is(err, ErrMessage) {
				t.Fatalf("untyped error %v", err)
			}
			data = data[size:]
			if n == 3 && groups[1].err == nil {
				calls[3].start(t, groups[1], 0)
			}
			e.kick()
		}
		e.waiting(nil)
		for _, g := range groups {
			e.failGroup(g, errTestLoss)
		}
		for _, r := range net.nodes[0].reads {
			if err := e.readDone(r.token, errTestLoss); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range groups {
			if err := g.close(); err != nil {
				t.Fatal(err)
			}
		}
		late, err := e.group(3, []int{0, 1, 2}, 0)
		if err != nil {
			t.Fatal(err)
		}
		e.failGroup(late, errTestLoss)
		e.pool.dropAll(&e.orphans)
		net.checkClean(t)
	})
}

// TestOffer checks the layout of offers on the wire.
func TestOffer(t *testing.T) {
	var b [offerLen]byte
	o := offer{addr: 1<<63 | 5, key: 1<<31 | 7, len: 9}
	o.encode(&b)
	if binary.LittleEndian.Uint64(b[0:]) != o.addr || binary.LittleEndian.Uint64(b[8:]) != 9 || binary.LittleEndian.Uint32(b[16:]) != o.key {
		t.Errorf("%+v is encoded as %x", o, b)
	}
	var got offer
	if !got.decode(b[:]) || got != o {
		t.Errorf("decoded %+v, want %+v", got, o)
	}
	for n := range 2 * offerLen {
		if n != offerLen && got.decode(make([]byte, n)) {
			t.Errorf("%d bytes pass for an offer", n)
		}
	}
}
