package nicrt

// Compiled is a schedule in the form that the NIC runs: flat arrays without a
// pointer to follow. It is immutable and may be shared by any number of runs,
// NICs and goroutines, so callers compile once and keep it.
type Compiled struct {
	schedule *Schedule
	ops      []compiledOp
	// next holds, op after op, the operations that wait for each one.
	next []int32
	// roots are the operations that wait for none.
	roots []int32
	// recv and send find the operation at this end of a message.
	recv, send slotTable
	// reduces says whether runs need a kernel.
	reduces bool
	// partners are the members with whom messages are exchanged.
	partners []int32
}

// compiledOp is one operation. It takes less than a cache line.
type compiledOp struct {
	kind            OpKind
	reverse         bool
	srcSpace        Space
	dstSpace        Space
	need            int32 // threshold of its counter: operations it waits for
	nextAt, nextEnd int32 // its part of Compiled.next
	peer            int32
	slot            uint32
	srcOff, srcLen  int
	dstOff, dstLen  int
}

// slotTable finds an operation by peer and slot with two loads: the messages
// with peer p are ops[at[p]:at[p+1]].
type slotTable struct {
	at  []int32
	ops []int32
}

// find gives the operation for a message, or -1 if there is none. The peer is
// a member of the group; the slot may be anything.
func (t *slotTable) find(peer int, slot uint32) int32 {
	at := t.at[peer]
	if slot >= uint32(t.at[peer+1]-at) {
		return -1
	}
	return t.ops[at+int32(slot)]
}

// Compile validates a schedule and flattens it. The schedule must not be
// changed afterwards.
func Compile(s *Schedule) (*Compiled, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	c := &Compiled{schedule: s, ops: make([]compiledOp, len(s.Ops))}
	for i := range s.Ops {
		o := &s.Ops[i]
		c.ops[i] = compiledOp{
			kind: o.Kind, reverse: o.Reverse, need: int32(len(o.After)),
			peer: int32(o.Peer), slot: uint32(o.Slot),
			srcSpace: o.Src.Space, srcOff: o.Src.Off, srcLen: o.Src.Len,
			dstSpace: o.Dst.Space, dstOff: o.Dst.Off, dstLen: o.Dst.Len,
		}
		if o.Kind == RecvReduce && o.Src == o.Dst {
			c.ops[i].srcLen = 0
		}
		c.reduces = c.reduces || o.Kind == Reduce || o.Kind == RecvReduce
		if len(o.After) == 0 {
			c.roots = append(c.roots, int32(i))
		}
	}
	c.linkSuccessors()
	c.send = s.slots(OpKind.sends)
	c.recv = s.slots(OpKind.receives)
	for p := range s.Peers {
		if c.send.at[p] < c.send.at[p+1] || c.recv.at[p] < c.recv.at[p+1] {
			c.partners = append(c.partners, int32(p))
		}
	}
	return c, nil
}

// Schedule gives the schedule that was compiled.
func (c *Compiled) Schedule() *Schedule { return c.schedule }

// linkSuccessors turns the After lists around, in compressed sparse row form.
func (c *Compiled) linkSuccessors() {
	ops := c.schedule.Ops
	for i := range ops {
		for _, a := range ops[i].After {
			c.ops[a].nextEnd++
		}
	}
	total := int32(0)
	for i := range c.ops {
		o := &c.ops[i]
		n := o.nextEnd
		o.nextAt, o.nextEnd = total, total
		total += n
	}
	c.next = make([]int32, total)
	for i := range ops {
		for _, a := range ops[i].After {
			c.next[c.ops[a].nextEnd] = int32(i)
			c.ops[a].nextEnd++
		}
	}
}

// slots builds the table of the messages of one direction. The schedule is
// valid: the slots with each peer are dense.
func (s *Schedule) slots(way func(OpKind) bool) slotTable {
	t := slotTable{at: make([]int32, s.Peers+1)}
	for i := range s.Ops {
		if way(s.Ops[i].Kind) {
			t.at[s.Ops[i].Peer+1]++
		}
	}
	for p := range s.Peers {
		t.at[p+1] += t.at[p]
	}
	t.ops = make([]int32, t.at[s.Peers])
	for i := range s.Ops {
		if o := &s.Ops[i]; way(o.Kind) {
			t.ops[t.at[o.Peer]+int32(o.Slot)] = int32(i)
		}
	}
	return t
}
