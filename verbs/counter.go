package verbs

import "context"

// CounterValue is what a counter has counted. All arithmetic is modulo 2^64, so that adding -n takes n away.
type CounterValue struct{ Success, Failure uint64 }

// Total is the number that thresholds are compared with.
func (v CounterValue) Total() uint64 { return v.Success + v.Failure }

// Plus is the sum of two values.
func (v CounterValue) Plus(by CounterValue) CounterValue {
	return CounterValue{v.Success + by.Success, v.Failure + by.Failure}
}

// A Counter counts completions, successes and failures apart: the lighter alternative to a completion queue
// (ibv_create_comp_cntr). Queue pairs count on it (see QP.AttachCounter), and so does the host; send queues wait for it (see
// WaitFor), and so does the host.
//
// All methods may be called by any goroutine.
type Counter struct {
	value    CounterValue
	ctx      *Context // nil of one that the zero Engine made
	watch    func(old CounterValue)
	waiting  []waiter
	hosts    int // goroutines in Wait
	attached int // kinds of operations of queue pairs that count here
	dead     bool
}

// CreateCounter makes a counter with the value 0 (ibv_create_comp_cntr). ErrLimit if the device has no more; ErrDestroyed after Close.
func (c *Context) CreateCounter() (*Counter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.createCounter()
}

func (c *Context) createCounter() (*Counter, error) {
	const op = "create_comp_cntr"
	switch {
	case c.closed:
		return nil, opErr(op, "", ErrDestroyed, "context is closed")
	case c.counters >= c.limits.MaxCounters:
		return nil, opErr(op, "", ErrLimit, "%d counters: the device has no more", c.counters)
	}
	c.counters++
	return &Counter{ctx: c}, nil
}

// Destroy ends the counter. ErrBusy while queue pairs count on it, or if a runtime on the NIC owns it. A send queue that waits for
// it fails (LocQPOpErr), a goroutine that does gets ErrDestroyed.
func (k *Counter) Destroy() error {
	const op = "destroy_comp_cntr"
	if err := k.enter(op); err != nil {
		return err
	}
	defer k.ctx.unlock()
	if k.watch != nil {
		return opErr(op, "", ErrBusy, "it belongs to the runtime on the NIC")
	}
	if err := k.destroy(); err != nil {
		return err
	}
	k.ran()
	return nil
}

func (k *Counter) destroy() error {
	if k.attached > 0 {
		return opErr("destroy_comp_cntr", "", ErrBusy, "%d kinds of operations of queue pairs are counted on it", k.attached)
	}
	k.dead, k.watch = true, nil
	if k.ctx != nil {
		k.ctx.counters--
	}
	k.stir()
	return nil
}

// liveIn tells whether a counter, which may be nil, is a live one of a context.
func (k *Counter) liveIn(c *Context) bool { return k != nil && k.ctx == c && !k.dead }

// enter locks the NIC if the counter can be used.
func (k *Counter) enter(op string) error {
	if k.ctx == nil {
		return opErr(op, "", ErrInvalid, "the counter belongs to no device")
	}
	k.ctx.mu.Lock()
	if k.dead || k.ctx.closed {
		k.ctx.mu.Unlock()
		return opErr(op, "", ErrDestroyed, "destroyed")
	}
	return nil
}

// Read returns what has been counted; also after Destroy (ibv_read_comp_cntr, ibv_read_err_comp_cntr).
func (k *Counter) Read() CounterValue {
	if k.ctx == nil {
		return k.value
	}
	k.ctx.mu.Lock()
	defer k.ctx.mu.Unlock()
	return k.value
}

// Set gives the counter a value (ibv_set_comp_cntr, ibv_set_err_comp_cntr), and Add adds to it (ibv_inc_comp_cntr,
// ibv_inc_err_comp_cntr). Both take effect at once, on the caller's thread: send queues that waited for the value go on.
// What is counted between a Read and a Set is lost; Add loses nothing. The error is ErrDestroyed.
func (k *Counter) Set(v CounterValue) error {
	if err := k.enter("set_comp_cntr"); err != nil {
		return err
	}
	defer k.ctx.unlock()
	k.change(v)
	k.ran()
	return nil
}

// Add adds to the counter; see Set.
func (k *Counter) Add(by CounterValue) error {
	if err := k.enter("inc_comp_cntr"); err != nil {
		return err
	}
	defer k.ctx.unlock()
	k.change(k.value.Plus(by))
	k.ran()
	return nil
}

// Wait waits until successes and failures together reach threshold, lending the NIC its thread, and returns the
// value then. The error is ctx's, or ErrDestroyed.
func (k *Counter) Wait(ctx context.Context, threshold uint64) (CounterValue, error) {
	const op = "wait_comp_cntr"
	if err := k.enter(op); err != nil {
		return CounterValue{}, err
	}
	k.hosts++
	k.ctx.mu.Unlock()
	var v CounterValue
	dead := false
	err := k.ctx.Wait(ctx, func() bool {
		v, dead = k.value, k.dead
		return dead || v.Total() >= threshold
	})
	k.ctx.mu.Lock()
	k.hosts--
	k.ctx.mu.Unlock()
	if err == nil && dead {
		err = opErr(op, "", ErrDestroyed, "destroyed during the wait")
	}
	return v, err
}

// count counts a completion.
func (k *Counter) count(st Status) {
	v := k.value
	if st == Success {
		v.Success++
	} else {
		v.Failure++
	}
	k.change(v)
}

// change gives the counter a value, under the lock, and tells who must know.
func (k *Counter) change(v CounterValue) {
	old := k.value
	k.value = v
	if k.watch != nil {
		k.watch(old)
	}
	if len(k.waiting) > 0 || k.hosts > 0 {
		k.stir()
	}
}

// stir wakes the queue pairs and the goroutines whose wait may be over. Queue pairs run later, when the one that counts is done.
func (k *Counter) stir() {
	if k.hosts > 0 {
		k.ctx.progressed = true
	}
	now, left := k.value.Total(), k.waiting[:0]
	for _, w := range k.waiting {
		if !k.dead && now < w.threshold {
			left = append(left, w)
			continue
		}
		w.q.waits = nil
		w.q.wake()
		k.ctx.stirred = true
	}
	clear(k.waiting[len(left):])
	k.waiting = left
}

// ran runs what a change by the host has released.
func (k *Counter) ran() {
	if k.ctx.stirred || k.watch != nil {
		k.ctx.poll()
	}
}
