package verbs

import (
	"math"

	"outboard/verbs/fabric"
)

// Limits of the emulated device (ibv_query_device(3)). To create one object more, or to post past a limit, is an
// error that names it: ErrLimit where the device is full, ErrInvalid where one object is asked to be too large.
// Three limits come from the fabric: MaxQP, MaxMR and MaxMW are what its port can hold.
type Limits struct {
	MaxQP       int // queue pairs
	MaxCQ       int // completion queues
	MaxCQE      int // completions in one queue
	MaxWR       int // work requests in one queue
	MaxSGE      int // pieces of one request
	MaxInline   int // bytes of an inline request
	MaxPD       int // protection domains
	MaxMR       int // memory regions
	MaxMRSize   int // bytes of one region: those that a slice can have
	MaxMW       int // memory windows
	MaxAH       int // address handles
	MaxCounters int // completion counters
	MaxSRQ      int // shared receive queues
	MaxSRQWR    int // receives in one of them
	MaxSRQSGE   int // pieces of one such receive
	MaxMsg      int // bytes of one message
	MaxRdAtomic int // reads and atomics in flight on one queue pair
	MaxPKeys    int // entries of the P_Key table

	// Tag matching (ibv_tm_caps).
	MaxTMTags    int // tagged buffers of one shared receive queue
	MaxTMOps     int // list operations in flight on one of them
	MaxTMSGE     int // pieces of one tagged buffer
	MaxTMRndvHdr int // bytes of the headers of a rendezvous request
}

func limitsOf(a fabric.Attr) Limits {
	return Limits{
		MaxQP: a.Endpoints - laneCount(a.Endpoints), MaxCQ: 16384, MaxCQE: 4 << 20, MaxWR: 1 << 15, MaxSGE: 32, MaxInline: 512,
		MaxPD: 32764, MaxMR: a.Regions, MaxMRSize: math.MaxInt, MaxMW: a.Regions, MaxAH: 32764, MaxCounters: 1 << 17,
		MaxSRQ: 960, MaxSRQWR: 1 << 15, MaxSRQSGE: 32, MaxMsg: 1 << 40, MaxRdAtomic: 128, MaxPKeys: len(pkeyTable),
		MaxTMTags: 16384, MaxTMOps: 1024, MaxTMSGE: 32, MaxTMRndvHdr: 64,
	}
}
