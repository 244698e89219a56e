package nicrt

// A packetCell is a packet held on the NIC, its payload in packet memory.
type packetCell struct {
	packet
	next int32 // in its flow's queue
	refs int8  // tasks and flows that still need it
}

// noCell is the index of no cell.
const noCell = -1

// A cellPool holds the packets that wait for their handlers.
type cellPool struct {
	cells []packetCell
	free  []int32
}

func (p *cellPool) init(n int) {
	if p.cells != nil {
		return
	}
	p.cells, p.free = make([]packetCell, n), make([]int32, n)
	for i := range p.free {
		p.free[i] = int32(n - 1 - i)
	}
}

// A cellQueue is a list of cells in order of arrival.
type cellQueue struct{ head, tail int32 }

var emptyCells = cellQueue{noCell, noCell}

func (q *cellQueue) push(p *cellPool, c int32) {
	p.cells[c].next = noCell
	if q.head == noCell {
		q.head = c
	} else {
		p.cells[q.tail].next = c
	}
	q.tail = c
}

func (q *cellQueue) pop(p *cellPool) int32 {
	c := q.head
	if q.head = p.cells[c].next; q.head == noCell {
		q.tail = noCell
	}
	return c
}

// hold copies p into packet memory and returns its cell with one reference, or
// noCell if there is no room.
func (m *machine) hold(p *packet) int32 {
	if len(m.cells.free) == 0 {
		return noCell
	}
	payload, err := m.packets.alloc(len(p.payload))
	if err != nil {
		return noCell
	}
	copy(payload, p.payload)
	c := m.cells.free[len(m.cells.free)-1]
	m.cells.free = m.cells.free[:len(m.cells.free)-1]
	m.cells.cells[c] = packetCell{packet: *p, next: noCell, refs: 1}
	m.cells.cells[c].payload = payload
	return c
}

// unref gives up one reference to cell c, if it is one.
func (m *machine) unref(c int32) {
	if c == noCell {
		return
	}
	cell := &m.cells.cells[c]
	if cell.refs--; cell.refs > 0 {
		return
	}
	m.packets.release(cell.payload)
	*cell = packetCell{}
	m.cells.free = append(m.cells.free, c)
}
