package tagmatch

import "fmt"

// check says what is wrong with the engine's inner state, if anything is.
func (e *Engine[R, U]) check() error {
	if err := checkPool("receives", &e.receives); err != nil {
		return err
	}
	if err := checkPool("messages", &e.messages); err != nil {
		return err
	}
	queued := e.receives.live
	if e.lone != 0 {
		if queued != 1 || e.receives.nodes[e.lone].label == 0 {
			return fmt.Errorf("receive %d is said to be the only one, of %d", e.lone, queued)
		}
		queued = 0
	}
	if err := e.posted.check("posted", e.receives.nodes, queued, exact); err != nil {
		return err
	}
	for c := range e.arrived {
		if !e.indexed[c] {
			continue
		}
		if err := e.arrived[c].check(fmt.Sprintf("arrived %d", c), e.messages.nodes, e.messages.live, class(c)); err != nil {
			return err
		}
	}
	return e.checkClasses()
}

func (e *Engine[R, U]) checkClasses() error {
	var ofClass [classes]int
	wild := 0
	for i, n := range e.receives.nodes {
		if c := n.key.class(); n.label != 0 && c != exact && uint32(i) != e.lone {
			ofClass[c]++
			wild++
		}
	}
	if ofClass != e.ofClass || wild != e.wild {
		return fmt.Errorf("%d wildcards by class %v, counted as %d by class %v", wild, ofClass, e.wild, e.ofClass)
	}
	return nil
}

// checkPool follows the chain of unused nodes and counts the rest.
func checkPool[T any](name string, p *pool[T]) error {
	unused := 0
	for i := p.free; i != 0; i = p.nodes[i].next {
		if p.nodes[i].label != 0 {
			return fmt.Errorf("%s: node %d is in use and in the chain of the unused", name, i)
		}
		if unused++; unused > len(p.nodes) {
			return fmt.Errorf("%s: the chain of the unused is a ring", name)
		}
	}
	if room := max(len(p.nodes)-1, 0); unused+p.live != room || room > p.limit {
		return fmt.Errorf("%s: %d unused and %d live nodes of %d, limit %d", name, unused, p.live, room, p.limit)
	}
	return nil
}

// check follows every queue; live nodes must be queued just once, under their key as seen by class c.
func (q *queues) check(name string, nodes []node, live int, c class) error {
	used, queued := 0, 0
	for i, s := range q.slots {
		if s.head == 0 {
			continue
		}
		used++
		if at := q.find(s.key); at != uint32(i) {
			return fmt.Errorf("%s: queue of %v is in slot %d and found in %d", name, s.key, i, at)
		}
		n, err := q.follow(s, nodes, c)
		if err != nil {
			return fmt.Errorf("%s: queue of %v: %w", name, s.key, err)
		}
		queued += n
	}
	if used != q.used || 2*used > len(q.slots) || queued != live {
		return fmt.Errorf("%s: %d slots of %d used, counted as %d; %d nodes queued, %d live", name, used, len(q.slots), q.used, queued, live)
	}
	return nil
}

// follow walks one queue, which must be in order of labels, and counts its nodes.
func (q *queues) follow(s slot, nodes []node, c class) (count int, err error) {
	prev, label := uint32(0), uint64(0)
	for i := s.head; i != 0; prev, i = i, q.links[i].next {
		if nodes[i].label <= label || nodes[i].key.as(c) != s.key || q.links[i].prev != prev {
			return 0, fmt.Errorf("node %d: %+v, %+v after node %d, label %d", i, nodes[i], q.links[i], prev, label)
		}
		label = nodes[i].label
		count++
	}
	if s.tail != prev {
		return 0, fmt.Errorf("ends at node %d, its slot says %d", prev, s.tail)
	}
	return count, nil
}
