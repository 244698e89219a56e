package mpi

import (
	"sync"
	"sync/atomic"
	"time"

	"outboard/collectives"
	"outboard/nicrt"
)

// lossNotice is how long a rank whose collective another rank aborted waits to hear
// that a process has died.
const lossNotice = 500 * time.Millisecond

// planKey is the shape of a collective: calls of one shape share a compiled schedule.
type planKey struct {
	kind                 collectives.Kind
	inPlace, commutative bool
	root, count, elem    int
}

// planCache keeps a communicator's compiled schedules. Programs repeat few
// shapes, most often the last one.
type planCache struct {
	last atomic.Pointer[plan]
	mu   sync.Mutex
	all  map[planKey]*plan
}

type plan struct {
	key      planKey
	compiled *nicrt.Compiled
}

// maxPlans bounds the cache; a program with more shapes compiles anew.
const maxPlans = 1024

func (pc *planCache) init() { pc.all = map[planKey]*plan{} }

func (pc *planCache) get(c *comm, key planKey) (*nicrt.Compiled, error) {
	if p := pc.last.Load(); p != nil && p.key == key {
		return p.compiled, nil
	}
	pc.mu.Lock()
	defer pc.mu.Unlock()
	p := pc.all[key]
	if p == nil {
		s, err := collectives.Plan(collectives.Spec{Kind: key.kind, Self: c.rank, N: len(c.ranks), Root: key.root,
			Count: key.count, Elem: key.elem, InPlace: key.inPlace, Commutative: key.commutative})
		if err != nil {
			return nil, err
		}
		compiled, err := nicrt.Compile(s)
		if err != nil {
			return nil, err
		}
		if len(pc.all) >= maxPlans {
			clear(pc.all)
		}
		p = &plan{key: key, compiled: compiled}
		pc.all[key] = p
	}
	pc.last.Store(p)
	return p.compiled, nil
}
