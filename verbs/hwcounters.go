package verbs

// HWCounters count what the NIC did in packet mode since it was opened, with the names that the kernel's soft RoCE gives them in
// hw_counters.
type HWCounters struct {
	SentPkts          uint64
	RcvdPkts          uint64
	DuplicateRequest  uint64 // requests that came again
	OutOfSeqRequest   uint64 // requests after a gap
	RcvdRNRErr        uint64 // RNR NAKs received
	SendRNRErr        uint64 // and sent
	RcvdSeqErr        uint64 // NAKs for a gap received
	RetryExceeded     uint64 // queue pairs that gave up on a silent peer
	RNRRetryExceeded  uint64 // and on one without receives
	CompleterRetryErr uint64 // times that requests were sent again
	RDMASends         uint64 // messages sent
	RDMARecvs         uint64 // and received
	ICRCErrors        uint64 // packets dropped: damaged or malformed
	Dropped           uint64 // packets dropped: for no queue pair, in a wrong state, or with a wrong P_Key or Q_Key
}

// HWCounters returns the counts.
func (c *Context) HWCounters() HWCounters {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hw
}
