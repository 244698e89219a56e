package ring

import (
	"sync/atomic"

	"outboard/verbs/fabric"
)

// A grant is a fabric.Grant under a sequence lock: an odd count says that the writer is
// at work. The fields are atomic so that a reader who loses the race reads old
// values and never torn ones.
type grant struct {
	seq, ready, pd, access atomic.Uint32
}

// grantTries bounds the wait for a writer that may have died half-way.
const grantTries = 1 << 12

// SetGrant publishes g. Only the receiver's side calls it.
func (r Ring) SetGrant(g fabric.Grant) {
	w := &r.ctl.grant
	seq := w.seq.Load() | 1
	w.seq.Store(seq)
	var ready uint32
	if g.Ready {
		ready = 1
	}
	w.ready.Store(ready)
	w.pd.Store(g.PD)
	w.access.Store(g.Access)
	w.seq.Store(seq + 1)
}

// Grant returns what the receiver's side published: the zero Grant if it
// published nothing, or if it stopped in the middle.
func (r Ring) Grant() fabric.Grant { return r.ctl.grant.load() }

func (w *grant) load() fabric.Grant {
	for range grantTries {
		seq := w.seq.Load()
		g := fabric.Grant{Ready: w.ready.Load() == 1, PD: w.pd.Load(), Access: w.access.Load()}
		if seq&1 == 0 && w.seq.Load() == seq {
			return g
		}
	}
	return fabric.Grant{}
}
