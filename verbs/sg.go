package verbs

import (
	"encoding/binary"
	"fmt"
)

// ReservedLKey names any memory of the process in scatter/gather entries of queue pairs that an
// Engine made: the reserved L_Key that IBTA (10.6.3) gives to privileged consumers.
const ReservedLKey = 0xffffffff

// hold marks the regions of a list as used by work in flight. It returns a bit for
// each entry whose key names one; unhold takes the same bits.
func (c *Context) hold(sg []SGE) (held uint32) {
	for i, g := range sg {
		if m := c.keys.mr(g.LKey); m != nil {
			m.users++
			held |= 1 << i
		}
	}
	return held
}

func (c *Context) unhold(sg []SGE, held uint32) {
	for i := 0; held != 0; i, held = i+1, held>>1 {
		if held&1 != 0 {
			c.keys.mr(sg[i].LKey).users--
		}
	}
}

// checkReceive checks the buffers of the receive that a message has taken. Those of a shared queue
// lie in that queue's protection domain.
func (q *QP) checkReceive() (Status, string) {
	pd := q.pd
	if q.srq != nil {
		pd = q.srq.pd
	}
	w := q.rx.receive
	return q.checkList(pd, w.SG, &w.held, LocalWrite)
}

// checkList checks a list against the regions that its keys name. It holds those that were registered after the request had been
// posted, which is no mistake: from now on the NIC uses them.
func (q *QP) checkList(pd *PD, sg []SGE, held *uint32, need Access) (Status, string) {
	for i, g := range sg {
		if len(g.Buf) == 0 || g.LKey == ReservedLKey && q.init.engine {
			continue
		}
		m := q.ctx.keys.mr(g.LKey)
		switch {
		case m == nil:
			return LocProtErr, fmt.Sprintf("entry %d: no region has lkey %#x", i, g.LKey)
		case m.pd != pd:
			return LocProtErr, fmt.Sprintf("entry %d: MR %#x is of PD %d, the queue of PD %d", i, g.LKey, m.pd.num, pd.num)
		case m.access&need != need:
			return LocProtErr, fmt.Sprintf("entry %d: MR %#x does not allow local write", i, g.LKey)
		case !m.covers(AddrOf(g.Buf), uint64(len(g.Buf))):
			return LocProtErr, fmt.Sprintf("entry %d: %d bytes at %#x are outside MR %#x, %d bytes at %#x",
				i, len(g.Buf), AddrOf(g.Buf), g.LKey, len(m.buf), AddrOf(m.buf))
		}
		if *held&(1<<i) == 0 {
			m.users++
			*held |= 1 << i
		}
	}
	return Success, ""
}

// lenSG is the number of bytes in a list.
func lenSG(sg []SGE) (n int) {
	for i := range sg {
		n += len(sg[i].Buf)
	}
	return n
}

// gather returns n bytes of the list from byte off on: in place if one entry holds them.
func (c *Context) gather(sg []SGE, off, n int) []byte {
	if n == 0 {
		return nil
	}
	for off >= len(sg[0].Buf) {
		off -= len(sg[0].Buf)
		sg = sg[1:]
	}
	if off+n <= len(sg[0].Buf) {
		return sg[0].Buf[off : off+n]
	}
	return appendSG(c.stage[:0], sg, off, n)
}

// appendSG appends n bytes of a list from byte off on.
func appendSG(b []byte, sg []SGE, off, n int) []byte {
	for _, g := range sg {
		switch {
		case n == 0:
			return b
		case off >= len(g.Buf):
			off -= len(g.Buf)
		default:
			p := g.Buf[off:min(len(g.Buf), off+n)]
			b = append(b, p...)
			n, off = n-len(p), 0
		}
	}
	return b
}

// scatter writes p into the list from byte off on; the caller has checked that it fits.
func scatter(sg []SGE, off int, p []byte) {
	for _, g := range sg {
		if off >= len(g.Buf) {
			off -= len(g.Buf)
			continue
		}
		n := copy(g.Buf[off:], p)
		p, off = p[n:], 0
		if len(p) == 0 {
			return
		}
	}
}

// scatter64 writes the result of an atomic.
func (c *Context) scatter64(sg []SGE, v uint64) {
	b := c.scratch[:8]
	binary.NativeEndian.PutUint64(b, v)
	scatter(sg, 0, b)
}
