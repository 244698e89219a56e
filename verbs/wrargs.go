package verbs

// wrArgs are the arguments of the rarer requests, which a SendWR points to: copied while posting, as the rest of it.
type wrArgs struct {
	mask   AtomicMask
	ud     UDDest
	bind   MWBind
	wait   WaitFor
	enable Enable
}

// rare tells whether a request has such arguments.
func (wr *SendWR) rare() bool {
	return wr.UD != nil || wr.Opcode.has(opLocal|opMasked)
}

// keep copies the arguments of a request and has it point to the copies. They are made room for when first needed.
func (s *sendQueue) keep(i int, wr *SendWR) {
	if s.args == nil {
		s.args = make([]wrArgs, len(s.ring))
	}
	a := &s.args[i]
	*a = wrArgs{}
	own(&wr.Mask, &a.mask)
	own(&wr.UD, &a.ud)
	own(&wr.Bind, &a.bind)
	own(&wr.Wait, &a.wait)
	own(&wr.Enable, &a.enable)
}

// own copies what a pointer points to, if it does, and has it point to the copy.
func own[T any](p **T, to *T) {
	if *p != nil {
		*to = **p
		*p = to
	}
}
