package unit

import "fmt"

// check says what is wrong with the unit's inner state, if anything is.
func (u *Unit) check() error {
	free := map[uint32]bool{}
	for _, i := range u.sends.free {
		if free[i] || u.sends.entries[i].live {
			return fmt.Errorf("send number %d is free twice, or free and live", i)
		}
		free[i] = true
	}
	if live := len(u.sends.entries) - len(free); live < 0 || live > u.sends.limit {
		return fmt.Errorf("%d sends are live", live)
	}
	for i, e := range u.sends.entries {
		if !e.live && !free[uint32(i)] {
			return fmt.Errorf("send number %d is neither free nor live", i)
		}
		if e.op != nil && (e.op.state != queued && e.op.state != waiting || e.op.rts.id != u.sends.id(i)) {
			return fmt.Errorf("send number %d is of an op in state %d", i, e.op.state)
		}
	}
	if err := u.checkOutbox(); err != nil {
		return err
	}
	return u.pool.check()
}

func (u *Unit) checkOutbox() error {
	busy := map[int]bool{}
	for _, p := range u.out.busy {
		if busy[int(p)] || !u.out.queues[p].busy {
			return fmt.Errorf("peer %d is busy twice, or not marked so", p)
		}
		busy[int(p)] = true
	}
	for p := range u.out.queues {
		q := &u.out.queues[p]
		switch {
		case q.busy != busy[p]:
			return fmt.Errorf("peer %d is marked busy %v, listed %v", p, q.busy, busy[p])
		case len(q.items) > 0 && (!q.busy || q.next >= len(q.items)), len(q.items) == 0 && q.next != 0:
			return fmt.Errorf("peer %d has %d items, next %d, busy %v", p, len(q.items), q.next, q.busy)
		}
		for _, it := range q.items[q.next:] {
			if it.op != nil && it.op.state != queued {
				return fmt.Errorf("peer %d: an op in state %d waits", p, it.op.state)
			}
		}
	}
	return nil
}

func (p *pool) check() error {
	free := 0
	for c, list := range p.classes {
		for _, b := range list {
			if cap(b) != 1<<c {
				return fmt.Errorf("class %d has a buffer of %d bytes", c, cap(b))
			}
			free += cap(b)
		}
	}
	if free != p.free || free > maxFree {
		return fmt.Errorf("%d bytes are free, counted as %d, limit %d", free, p.free, maxFree)
	}
	return nil
}
