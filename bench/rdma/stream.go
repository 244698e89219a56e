package rdma

import "outboard/verbs"

// A stream measures bandwidth and rate: as many requests outstanding as the depth allows.
type stream struct {
	*link
	wrs    [][]verbs.SendWR // for each queue pair the list that it posts
	flags  verbs.SendFlags
	sent   []progress // for each queue pair, in this batch
	got    []int      // messages received by each queue pair, in this batch
	total  uint64     // requests on each queue pair in the batches before
	listen bool       // messages arrive here
}

// progress counts the requests of a queue pair.
type progress struct{ posted, done int }

// idShift is where a work request's ID keeps the number of its queue pair, above its number in the batch.
const idShift = 32

func newStream(l *link) *stream {
	n := len(l.qps)
	s := &stream{link: l, sent: make([]progress, n), got: make([]int, n)}
	for i := range l.qps {
		s.wrs = append(s.wrs, l.request(i))
	}
	s.flags = s.wrs[0][0].Flags
	s.listen = l.op.opcode == verbs.Send && l.active(1-l.rank)
	return s
}

func (s *stream) posted() uint64 { return s.total }

func (s *stream) run(count int) (float64, error) {
	clear(s.sent)
	clear(s.got)
	send, listen := 0, 0 // queue pairs with something left to do
	if s.active(s.rank) {
		send = len(s.qps)
	}
	if s.listen {
		listen = len(s.qps)
	}
	elapsed := clock()
	seconds := 0.0
	for idle := 0; send+listen > 0; idle++ {
		moved := false
		if send > 0 {
			n, done, err := s.pump(count)
			if err != nil {
				return 0, err
			}
			moved = n > 0
			if send -= done; send == 0 {
				seconds = elapsed()
			}
		}
		if listen > 0 {
			n, done, err := s.take(count)
			if err != nil {
				return 0, err
			}
			moved = moved || n > 0
			listen -= done
		}
		if !moved {
			rest(idle)
		}
	}
	s.total += uint64(count)
	if seconds == 0 { // it only listens
		seconds = elapsed()
	}
	return seconds, nil
}

// pump posts what the depth allows and takes completions. It returns how many requests it moved and on how many
// queue pairs the last one is complete.
func (s *stream) pump(count int) (moved, finished int, err error) {
	for i := range s.sent {
		p := &s.sent[i]
		for ; p.posted < count && p.posted-p.done < s.depth(); p.posted++ {
			if err := s.post(i, p.posted+1, count); err != nil {
				return moved, finished, err
			}
			moved++
		}
	}
	wcs, err := s.poll(s.sendCQ)
	if err != nil {
		return moved, finished, err
	}
	for _, wc := range wcs {
		p := &s.sent[wc.ID>>idShift]
		p.done = int(uint32(wc.ID))
		if moved++; p.done == count {
			finished++
		}
	}
	return moved, finished, nil
}

// post posts request number n of count on queue pair i. The last of a batch is signaled, and the last that the depth allows.
func (s *stream) post(i, n, count int) error {
	wr := &s.wrs[i][0]
	wr.ID, wr.Flags = uint64(i)<<idShift|uint64(n), s.flags
	if n%s.moderation() == 0 || n == count {
		wr.Flags |= verbs.Signaled
	}
	at := s.total + uint64(n) - 1
	wr.Compare, wr.Swap = at, at+1
	return s.qps[i].PostSend(s.wrs[i]...)
}

// take takes messages and posts the receives anew. It returns how many and on how many queue pairs the last one came.
func (s *stream) take(count int) (moved, finished int, err error) {
	wcs, err := s.poll(s.recvCQ)
	if err != nil {
		return 0, 0, err
	}
	for k := range wcs {
		i := int(wcs[k].ID)
		if s.got[i]++; s.got[i] == count {
			finished++
		}
		if err := s.postRecv(i); err != nil {
			return 0, 0, err
		}
	}
	return len(wcs), finished, nil
}
