package mpi

import (
	"math"
	"math/bits"
	"runtime"
	"sync"
)

// maxComms bounds the ids of communicators, which index tables of the NIC.
const maxComms = 1 << 20

// idPool knows the ids of the communicators that this rank belongs to.
type idPool struct {
	mu    sync.Mutex
	used  map[uint32]struct{}
	next  uint32 // above all that were ever used
	limit uint32
	// One goroutine at a time looks for an id: the one whose communicator has the
	// smallest, among those that want to.
	held   bool
	lowest uint32
}

const nobody = math.MaxUint32

func (s *idPool) init() {
	s.used, s.next, s.limit, s.lowest = map[uint32]struct{}{0: {}}, 1, maxComms, nobody
}

// enter asks for the turn of a goroutine that works on communicator id.
func (s *idPool) enter(id uint32) (next uint32, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lowest = min(s.lowest, id)
	if !s.held && s.lowest == id {
		s.held, mine = true, true
	}
	return s.next, mine
}

// leave ends a turn; over means that the goroutine will not come back.
func (s *idPool) leave(id uint32, mine, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mine {
		s.held = false
	}
	if over && s.lowest == id {
		s.lowest = nobody
	}
}

func (s *idPool) take(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[id] = struct{}{}
	s.next = max(s.next, id+1)
}

func (s *idPool) free(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, id)
}

// window fills in a bit for each used id from base.
func (s *idPool) window(base uint32, words []uint64) {
	clear(words)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.used {
		if i := id - base; id >= base && int(i) < 64*len(words) {
			words[i/64] |= 1 << (i % 64)
		}
	}
}

// agreeOnID finds an id that no rank of the group uses. Goroutines of other communicators may be looking for one at the same
// time, and in another order on other ranks. So an attempt counts only if it is the turn of this one on all ranks;
// since the smallest communicator goes first everywhere, there is always one that gets on (as with MPICH's context ids).
func (c *Comm) agreeOnID() (uint32, error) {
	ids := &c.p.ids
	for {
		next, mine := ids.enter(c.id)
		bid := []uint32{next, 0}
		if !mine {
			bid[1] = 1
		}
		err := AllreduceInPlace(c, bid, Max)
		agreed := err == nil && bid[1] == 0
		id := bid[0]
		if agreed && id >= ids.limit {
			id, err = c.reuseID()
		}
		if agreed && err == nil {
			ids.take(id)
		}
		ids.leave(c.id, mine, agreed || err != nil)
		if agreed || err != nil {
			return id, err
		}
		runtime.Gosched()
	}
}

// reuseID finds an id among those that were given up. New ones are preferred as long as there are any, lest
// a late message of an old communicator should meet a new one.
func (c *Comm) reuseID() (uint32, error) {
	const words = 64
	used := make([]uint64, words)
	for base := uint32(0); base < c.p.ids.limit; base += 64 * words {
		c.p.ids.window(base, used)
		if err := AllreduceInPlace(c, used, BitOr); err != nil {
			return 0, err
		}
		for i, w := range used {
			if id := base + uint32(64*i+bits.TrailingZeros64(^w)); w != math.MaxUint64 && id < c.p.ids.limit {
				return id, nil
			}
		}
	}
	return 0, c.errorf("Dup", ErrComm, "%d communicators are in use: expected some that were freed", c.p.ids.limit)
}
