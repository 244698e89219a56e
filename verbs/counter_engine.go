package verbs

// Counters of a runtime on the NIC are those of the device, so that queue pairs count on them and send queues wait
// for them. The zero Engine makes counters that belong to no device, for a runtime that is tested without one.

// CreateCounter makes a counter that belongs to the runtime: changed is called after each change of its value by anybody
// but SetCounter: a completion, or the host. It must not call methods that lock, or post; Again has the runtime run afterwards.
func (e Engine) CreateCounter(changed func(old CounterValue)) (k *Counter, err error) {
	if e.c == nil {
		return &Counter{watch: changed}, nil
	}
	if k, err = e.c.createCounter(); err == nil {
		k.watch = changed
	}
	return k, err
}

// DestroyCounter is Counter.Destroy.
func (e Engine) DestroyCounter(k *Counter) error { return k.destroy() }

// CounterValue is Counter.Read.
func (e Engine) CounterValue(k *Counter) CounterValue { return k.value }

// SetCounter gives a counter of the runtime a value. Send queues that waited for it go on in this poll, or the next.
func (e Engine) SetCounter(k *Counter, v CounterValue) {
	k.value = v
	if len(k.waiting) > 0 || k.hosts > 0 {
		k.stir()
	}
}
