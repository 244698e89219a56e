package nicrt

import (
	"fmt"
	"strings"
)

// Verify checks the schedules of all members of a group together: each is
// valid by itself, every send has its receive with an equal length, and the
// whole runs to its end even if no send is buffered, that is if each send ends
// only with its receive. schedules[i] is the schedule of member i. The error is
// a *ScheduleError; one about a deadlock says which operations wait for what.
func Verify(schedules []*Schedule) error {
	v := verifier{schedules: schedules}
	for self, s := range schedules {
		if s == nil {
			return &ScheduleError{Self: self, Op: -1, Reason: "schedule is nil"}
		}
		if s.Peers != len(schedules) || s.Self != self {
			return s.wrong(-1, "it is for member %d of %d, expected member %d of %d", s.Self, s.Peers, self, len(schedules))
		}
		if err := s.Validate(); err != nil {
			return err
		}
	}
	if err := v.pair(); err != nil {
		return err
	}
	return v.run()
}

// opAt names one operation of one member.
type opAt struct{ member, op int }

// schedMessage names one message of a run.
type schedMessage struct{ from, to, slot int }

// verifier runs the schedules of all members with rendezvous sends.
type verifier struct {
	schedules []*Schedule
	partner   [][]opAt  // for a send its receive and for a receive its send
	next      [][][]int // operations that wait for an operation
	need      [][]int   // unfinished operations that one waits for
	begun     [][]bool
	work      []opAt // operations that may begin
	finished  int
}

// pair finds the other end of every message.
func (v *verifier) pair() error {
	sends := make(map[schedMessage]opAt)
	v.partner = make([][]opAt, len(v.schedules))
	for m, s := range v.schedules {
		v.partner[m] = make([]opAt, len(s.Ops))
		for i := range s.Ops {
			if o := &s.Ops[i]; o.Kind.sends() {
				sends[schedMessage{m, o.Peer, o.Slot}] = opAt{m, i}
			}
		}
	}
	for m, s := range v.schedules {
		for i := range s.Ops {
			o := &s.Ops[i]
			if !o.Kind.receives() {
				continue
			}
			msg := schedMessage{o.Peer, m, o.Slot}
			from, ok := sends[msg]
			if !ok {
				return s.wrong(i, "member %d never sends slot %d to member %d", o.Peer, o.Slot, m)
			}
			delete(sends, msg)
			if sent := v.schedules[from.member].Ops[from.op].Src.Len; sent != o.Dst.Len {
				return s.wrong(i, "receives %d bytes, and op %d of member %d sends %d", o.Dst.Len, from.op, from.member, sent)
			}
			v.partner[m][i] = from
			v.partner[from.member][from.op] = opAt{m, i}
		}
	}
	for m, s := range v.schedules {
		for i := range s.Ops {
			o := &s.Ops[i]
			if _, left := sends[schedMessage{m, o.Peer, o.Slot}]; left && o.Kind.sends() {
				return s.wrong(i, "member %d never receives slot %d from member %d", o.Peer, o.Slot, m)
			}
		}
	}
	return nil
}

// run executes the schedules until nothing moves any more.
func (v *verifier) run() error {
	total := 0
	n := len(v.schedules)
	v.next, v.need, v.begun = make([][][]int, n), make([][]int, n), make([][]bool, n)
	for m, s := range v.schedules {
		total += len(s.Ops)
		v.next[m], v.need[m], v.begun[m] = make([][]int, len(s.Ops)), make([]int, len(s.Ops)), make([]bool, len(s.Ops))
		for i := range s.Ops {
			v.need[m][i] = len(s.Ops[i].After)
			for _, a := range s.Ops[i].After {
				v.next[m][a] = append(v.next[m][a], i)
			}
			if v.need[m][i] == 0 {
				v.work = append(v.work, opAt{m, i})
			}
		}
	}
	for len(v.work) > 0 {
		at := v.work[len(v.work)-1]
		v.work = v.work[:len(v.work)-1]
		v.begin(at)
	}
	if v.finished < total {
		return v.deadlock(total)
	}
	return nil
}

// begin starts an operation. A local one is finished at once, one end of a
// message when both have begun.
func (v *verifier) begin(at opAt) {
	v.begun[at.member][at.op] = true
	k := v.schedules[at.member].Ops[at.op].Kind
	if !k.sends() && !k.receives() {
		v.finish(at)
		return
	}
	if other := v.partner[at.member][at.op]; v.begun[other.member][other.op] {
		v.finish(at)
		v.finish(other)
	}
}

func (v *verifier) finish(at opAt) {
	v.finished++
	for _, i := range v.next[at.member][at.op] {
		if v.need[at.member][i]--; v.need[at.member][i] == 0 {
			v.work = append(v.work, opAt{at.member, i})
		}
	}
}

// deadlock describes the messages with only one end begun: what everything
// else waits for.
func (v *verifier) deadlock(total int) error {
	const shown = 4
	var waits []string
	var first *opAt
	for m := range v.schedules {
		for i := range v.begun[m] {
			o := &v.schedules[m].Ops[i]
			if !v.begun[m][i] || !o.Kind.sends() && !o.Kind.receives() {
				continue
			}
			other := v.partner[m][i]
			if v.begun[other.member][other.op] {
				continue
			}
			if first == nil {
				first = &opAt{m, i}
			}
			waits = append(waits, fmt.Sprintf("member %d op %d (%v) for op %d of member %d", m, i, o.Kind, other.op, other.member))
		}
	}
	more := ""
	if len(waits) > shown {
		more = fmt.Sprintf(" and %d more", len(waits)-shown)
		waits = waits[:shown]
	}
	return v.schedules[first.member].wrong(first.op, "deadlock with %d of %d operations unfinished: %s%s wait",
		total-v.finished, total, strings.Join(waits, ", "), more)
}
