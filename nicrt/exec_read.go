package nicrt

import "fmt"

// piece is one read from a peer's memory that is under way.
type piece struct {
	run *run // nil if the entry is free
	gen uint32
	op  int32
	off int // in the message
	n   int
	buf []byte // for a reduction; nil if the bytes go where they belong
}

// pieceTable holds the reads under way; a read's token names its entry and how
// often the entry has been used. The buffers are bounded, the entries by the
// receives that don't need one.
type pieceTable struct {
	all     []piece
	free    []uint32
	buffers [][]byte // free ones
	made    int      // buffers in being
}

// take makes an entry.
func (t *pieceTable) take(p piece) (token uint64) {
	n := len(t.free)
	if n == 0 {
		t.all = append(t.all, piece{})
		t.free = append(t.free, uint32(len(t.all)-1))
		n = 1
	}
	i := t.free[n-1]
	t.free = t.free[:n-1]
	p.gen = t.all[i].gen
	t.all[i] = p
	return uint64(p.gen)<<32 | uint64(i)
}

// find gives the entry that a token names, or false if there is none.
func (t *pieceTable) find(token uint64) (*piece, bool) {
	i := uint32(token)
	if uint64(i) >= uint64(len(t.all)) || t.all[i].run == nil || t.all[i].gen != uint32(token>>32) {
		return nil, false
	}
	return &t.all[i], true
}

// end frees an entry and gives what it held.
func (t *pieceTable) end(token uint64) piece {
	i := uint32(token)
	p := t.all[i]
	t.all[i] = piece{gen: p.gen + 1}
	t.free = append(t.free, i)
	return p
}

// buffer gives a buffer for a piece; nil without an error if all are in use.
func (e *exec) buffer() ([]byte, error) {
	t := &e.reads
	if n := len(t.buffers); n > 0 {
		b := t.buffers[n-1]
		t.buffers = t.buffers[:n-1]
		return b, nil
	}
	if t.made == e.cfg.pieces {
		return nil, nil
	}
	b, err := e.cfg.memory.alloc(e.cfg.chunk)
	if err != nil {
		if t.made > 0 { // one of them will come back
			return nil, nil
		}
		return nil, err
	}
	t.made++
	return b, nil
}

// offer lets the peer read the payload of a Send and tells it where. It reports
// whether the run lives on.
func (e *exec) offer(r *run, i int32, src []byte) bool {
	o, st := &r.c.ops[i], &r.state[i]
	if !st.exposed {
		e.inWire = true
		addr, key, err := e.wire.expose(int(r.g.peers[o.peer]), src)
		e.inWire = false
		if err != nil {
			return e.fail(r, int(i), int(o.peer), fmt.Errorf("expose of %d bytes: %w", len(src), err))
		}
		st.addr, st.key, st.exposed = addr, key, true
	}
	off := offer{addr: st.addr, key: st.key, len: uint64(len(src))}
	off.encode(&e.offerBytes)
	if !e.send(r.g, int(o.peer), msgRequest, runTag(r.seq, o.slot), e.offerBytes[:]) {
		e.stall(r, i)
		return true
	}
	e.stats.Sends++
	e.stats.BytesSent += uint64(len(src))
	st.phase = opMoving
	return true
}

// pump reads what was offered for a receive, as far as it can go now. It
// reports whether the run lives on.
func (e *exec) pump(r *run, i int32) bool {
	o, k := &r.c.ops[i], r.state[i].msg
	for k.issued < o.dstLen {
		p := piece{run: r, op: i, off: k.issued, n: o.dstLen - k.issued}
		dst := r.dst(o)
		if o.kind == RecvReduce {
			if k.flying >= e.cfg.depth {
				return true
			}
			var err error
			if p.buf, err = e.buffer(); err != nil {
				return e.fail(r, int(i), int(o.peer), err)
			}
			if p.buf == nil {
				if k.flying == 0 {
					e.starved = append(e.starved, stall{r, r.gen, i})
				}
				return true
			}
			p.n = min(p.n, e.pieceLen(r))
			dst = p.buf[:p.n]
		}
		token := e.reads.take(p)
		k.issued += p.n
		k.flying++
		r.reads++
		e.stats.Reads++
		e.stats.BytesRead += uint64(p.n)
		e.inWire = true
		done, err := e.wire.read(int(r.g.peers[o.peer]), dst, k.offer.addr+uint64(p.off), k.offer.key, token)
		e.inWire = false
		if err != nil || done {
			if !e.landed(token, err) {
				return false
			}
		}
	}
	if k.landed < o.dstLen {
		return true
	}
	r.state[i].msg = nil
	e.tell(r.g, int(o.peer), msgFinish, runTag(r.seq, o.slot))
	e.pool.drop(k)
	r.finish(i)
	return true
}

// landed ends a read. It reports whether the run lives on.
func (e *exec) landed(token uint64, err error) bool {
	p := e.reads.end(token)
	r := p.run
	r.reads--
	if r.dead {
		e.giveBack(p.buf)
		if r.reads == 0 {
			e.retire(r)
		}
		return false
	}
	o, k := &r.c.ops[p.op], r.state[p.op].msg
	k.flying--
	k.landed += p.n
	if err != nil {
		err = fmt.Errorf("read of %d bytes: %w", p.n, err)
	} else if p.buf != nil {
		err = e.land(r, o, p.off, p.buf[:p.n])
	}
	e.giveBack(p.buf)
	if err != nil {
		return e.fail(r, int(p.op), int(o.peer), err)
	}
	return true
}

func (e *exec) giveBack(buf []byte) {
	if buf != nil {
		e.reads.buffers = append(e.reads.buffers, buf)
	}
}

// readDone ends a read that was not done at once. The error is about a token
// that names no read under way.
func (e *exec) readDone(token uint64, err error) error {
	if _, ok := e.reads.find(token); !ok {
		return fmt.Errorf("nicrt: end of read %#x, which is not under way", token)
	}
	if e.inWire {
		e.later = append(e.later, lateNews{peer: -1, token: token, err: err})
		return nil
	}
	e.endRead(token, err)
	e.catchUp()
	return nil
}

func (e *exec) endRead(token uint64, err error) {
	p, ok := e.reads.find(token)
	if !ok { // reported twice during one call of the wire
		return
	}
	r, op := p.run, p.op
	if e.landed(token, err) && e.pump(r, op) {
		e.step(r)
	}
	e.feed()
}

// feed lets receives go on that wait for a buffer.
func (e *exec) feed() {
	for len(e.starved) > 0 && len(e.reads.buffers) > 0 {
		s := e.starved[0]
		n := copy(e.starved, e.starved[1:])
		e.starved[n] = stall{}
		e.starved = e.starved[:n]
		if s.run.gen == s.gen && e.pump(s.run, s.op) {
			e.step(s.run)
		}
	}
}
