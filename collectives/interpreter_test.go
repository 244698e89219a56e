package collectives

import (
	"fmt"
	"math/rand/v2"
	"pgregory.net/rapid"

	"outboard/nicrt"
)

// planAll plans the schedules of all members and verifies them together.
func planAll(t rapid.TB, s Spec, edit func(*Spec)) []*nicrt.Schedule {
	t.Helper()
	all := make([]*nicrt.Schedule, s.N)
	for m := range all {
		one := s
		one.Self = m
		if edit != nil {
			edit(&one)
		}
		var err error
		if all[m], err = Plan(one); err != nil {
			t.Fatalf("%+v: %v", one, err)
		}
	}
	if err := nicrt.Verify(all); err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return all
}

// machine is the plainest thing that runs schedules: it picks any operation that
// may run, does it in one go, and so on. A message moves when both its ends may
// run, straight from one member's memory to the other's.
type machine struct {
	schedules []*nicrt.Schedule
	memory    [][3][]byte // by member and space
	kernel    func(dst, a, b []byte)
	done      [][]bool
}

// execute runs the schedules of all members on their inputs and outputs.
func execute(schedules []*nicrt.Schedule, inputs, outputs [][]byte, kernel func(dst, a, b []byte), rng *rand.Rand) error {
	x := machine{schedules: schedules, kernel: kernel}
	type event struct{ member, op int }
	var waiting []event
	for m, s := range schedules {
		if len(inputs[m]) != s.Input || len(outputs[m]) != s.Output {
			return fmt.Errorf("member %d has %d and %d bytes, its schedule %d and %d",
				m, len(inputs[m]), len(outputs[m]), s.Input, s.Output)
		}
		scratch := make([]byte, s.Scratch)
		for i := range scratch {
			scratch[i] = 0xA5
		}
		x.memory = append(x.memory, [3][]byte{inputs[m], outputs[m], scratch})
		x.done = append(x.done, make([]bool, len(s.Ops)))
		for i := range s.Ops {
			if s.Ops[i].Kind != nicrt.Send {
				waiting = append(waiting, event{m, i})
			}
		}
	}
	for len(waiting) > 0 {
		at := -1
		offset := rng.IntN(len(waiting))
		for i := range waiting {
			if j := (i + offset) % len(waiting); x.try(waiting[j].member, waiting[j].op) {
				at = j
				break
			}
		}
		if at < 0 {
			return fmt.Errorf("nothing moves, %d operations left", len(waiting))
		}
		waiting[at] = waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
	}
	return nil
}

func (x *machine) ready(member, op int) bool {
	for _, a := range x.schedules[member].Ops[op].After {
		if !x.done[member][a] {
			return false
		}
	}
	return true
}

func (x *machine) bytes(member int, sp nicrt.Span) []byte {
	return x.memory[member][sp.Space][sp.Off : sp.Off+sp.Len]
}

// try does an operation, and the send that goes with it, if they may run.
func (x *machine) try(member, op int) bool {
	if !x.ready(member, op) {
		return false
	}
	o := &x.schedules[member].Ops[op]
	src, dst := x.bytes(member, o.Src), x.bytes(member, o.Dst)
	first := dst
	if o.Kind == nicrt.Recv || o.Kind == nicrt.RecvReduce {
		if o.Src.Len > 0 {
			first = src
		}
		send := x.sender(member, o)
		if send < 0 || !x.ready(o.Peer, send) {
			return false
		}
		src = x.bytes(o.Peer, x.schedules[o.Peer].Ops[send].Src)
		x.done[o.Peer][send] = true
	}
	if o.Reverse {
		first, src = src, first
	}
	if o.Kind == nicrt.Reduce || o.Kind == nicrt.RecvReduce {
		x.kernel(dst, first, src)
	} else {
		copy(dst, src)
	}
	x.done[member][op] = true
	return true
}

// sender gives the index of the send for a receive.
func (x *machine) sender(member int, o *nicrt.SchedOp) int {
	for i := range x.schedules[o.Peer].Ops {
		if s := &x.schedules[o.Peer].Ops[i]; s.Kind == nicrt.Send && s.Peer == member && s.Slot == o.Slot {
			return i
		}
	}
	return -1
}
