package nicrt

// Account is what the NIC has done so far.
func (n *NIC) Account() Account {
	n.Lock()
	defer n.Unlock()
	a := n.machine.account()
	a.Sends, a.BytesSent, a.Full = n.sent.messages, n.sent.bytes, n.sent.refused
	a.Reads, a.BytesRead = n.requests.reads, n.requests.bytes

	x := &n.exec.stats
	a.Runs, a.Ops, a.FailedRuns = x.Runs, x.Ops, x.Failed
	a.Early, a.Spilled, a.EarlyBytes = x.Kept, x.Spilled, uint64(x.KeptPeak)

	c := &n.counters.stats
	a.Increments, a.Triggered, a.FailedTriggered = c.Increments, c.Released, c.Failed
	a.BytesReduced += x.BytesReduced + c.Reduced
	return a
}
