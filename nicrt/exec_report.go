package nicrt

import "fmt"

// Waiting says what an operation of a run in progress waits for. A host that
// suspects that nothing moves any more collects these of all members to see who
// waits for whom.
type Waiting struct {
	Schedule string // name of the schedule
	Group    uint32 // id of the group
	Self     int    // index in the group of the member that waits
	Run      uint32 // number of the run in the group
	Op       int    // operation of the schedule, -1 for a run that waits for older ones
	Peer     int    // index in the group of the member waited for, -1 if none is
	For      string // what for
}

// String describes it in one line.
func (w Waiting) String() string {
	s := fmt.Sprintf("%s, member %d of group %d, run %d", w.Schedule, w.Self, w.Group, w.Run)
	if w.Op >= 0 {
		s += fmt.Sprintf(", op %d", w.Op)
	}
	s += " waits for " + w.For
	if w.Peer >= 0 {
		s += fmt.Sprintf(" member %d", w.Peer)
	}
	return s
}

// waiting appends what the runs of all groups wait for.
func (e *exec) waiting(list []Waiting) []Waiting {
	for _, g := range e.groups {
		if g != nil && g.active > 0 {
			list = g.waiting(list)
		}
	}
	return list
}

func (g *group) waiting(list []Waiting) []Waiting {
	for i := range g.ring {
		r := g.ring[(g.base+uint32(i))&g.mask].run
		if r == nil {
			continue
		}
		for op := range r.state {
			if what := r.waitsFor(op); what != "" {
				w := r.waits(what)
				w.Op, w.Peer = op, int(r.c.ops[op].peer)
				list = append(list, w)
			}
		}
	}
	for _, r := range g.parked {
		if !r.dead {
			list = append(list, r.waits("older runs of the group"))
		}
	}
	return list
}

func (r *run) waits(what string) Waiting {
	return Waiting{Schedule: r.c.schedule.Name, Group: r.g.id, Self: int(r.g.self), Run: r.seq, Op: -1, Peer: -1, For: what}
}

// waitsFor says what an operation that has begun waits for, or nothing.
func (r *run) waitsFor(op int) string {
	o, st := &r.c.ops[op], &r.state[op]
	switch {
	case o.kind.sends() && st.phase == opReady:
		return "room on the wire to"
	case o.kind.sends() && st.phase == opMoving:
		return "its payload to be read by"
	case o.kind.receives() && st.phase == opReady:
		return "a message from"
	case o.kind.receives() && st.phase == opMoving:
		return "a read from"
	}
	return ""
}
