package verbs

import (
	"fmt"
	"math/bits"

	"outboard/verbs/internal/ib"
)

// State of a queue pair (IBTA 10.3.1).
type State uint8

const (
	Reset State = iota
	Init
	RTR // ready to receive
	RTS // ready to send
	SQD // send queue drained
	SQE // send queue in error, of UC and UD
	Err
	numStates
)

var stateText = [...]string{"RESET", "INIT", "RTR", "RTS", "SQD", "SQE", "ERR"}

func (s State) String() string {
	if int(s) < len(stateText) {
		return stateText[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// AttrMask says which fields of a QPAttr a Modify sets.
type AttrMask uint32

const (
	AttrState AttrMask = 1 << iota
	AttrAccess
	AttrPKeyIndex
	AttrPort
	AttrAV
	AttrPathMTU
	AttrDestQPN
	AttrRQPSN
	AttrMaxDestRdAtomic
	AttrMinRNRTimer
	AttrSQPSN
	AttrTimeout
	AttrRetryCnt
	AttrRNRRetry
	AttrMaxRdAtomic
	AttrQKey
	AttrCurState
	AttrEnSQDAsyncNotify
	AttrAltPath
	AttrPathMigState
	numAttrs = iota
)

var attrText = [numAttrs]string{"STATE", "ACCESS_FLAGS", "PKEY_INDEX", "PORT", "AV", "PATH_MTU", "DEST_QPN", "RQ_PSN",
	"MAX_DEST_RD_ATOMIC", "MIN_RNR_TIMER", "SQ_PSN", "TIMEOUT", "RETRY_CNT", "RNR_RETRY", "MAX_QP_RD_ATOMIC", "QKEY",
	"CUR_STATE", "EN_SQD_ASYNC_NOTIFY", "ALT_PATH", "PATH_MIG_STATE"}

func (m AttrMask) String() string { return flagsText(uint32(m), attrText[:]) }

// QPAttr are the attributes of a queue pair (ibv_qp_attr).
type QPAttr struct {
	State     State
	CurState  State  // the state that the caller believes the queue pair to be in
	Access    Access // what the connected peer may do: RemoteRead, RemoteWrite, RemoteAtomic
	PKeyIndex uint16 // into the port's table
	Port      uint8  // 1
	QKey      uint32 // of UD
	// AV is the address of the peer's port (Context.Addr), which on a real
	// wire would be a LID or GID. GRH is the rest of the address vector.
	AV              string
	GRH             GRH
	PathMTU         int    // bytes: 256, 512, 1024, 2048, 4096 or the device's own
	DestQPN         uint32 // the peer's queue pair number
	RQPSN, SQPSN    uint32 // 24 bits
	MaxRdAtomic     uint8  // reads and atomics this side may have in flight
	MaxDestRdAtomic uint8  // and the peer
	MinRNRTimer     uint8  // code of the wait after a receiver-not-ready NAK, 0 to 31 (IBTA table 45)
	Timeout         uint8  // acknowledgement timeout 4.096 µs × 2^Timeout; 0 waits for ever
	RetryCnt        uint8  // 0 to 7
	RNRRetry        uint8  // 0 to 7; 7 retries for ever
	// EnSQDAsyncNotify asks for SQ_DRAINED when the send queue has drained. SQDraining, which only
	// Query sets, tells that it has not yet.
	EnSQDAsyncNotify bool
	SQDraining       bool
}

// GRH is the part of an address vector that goes into the global routing header of each packet.
type GRH struct {
	SGIDIndex    uint8
	HopLimit     uint8 // 0 stands for 64
	TrafficClass uint8
	FlowLabel    uint32 // 20 bits
}

// checkAttr checks the values of the attributes that mask names.
func (q *QP) checkAttr(a QPAttr, mask AttrMask) error {
	for _, x := range []struct {
		bit AttrMask
		v   int
		hi  int
	}{{AttrPKeyIndex, int(a.PKeyIndex), len(pkeyTable) - 1}, {AttrRetryCnt, int(a.RetryCnt), 7}, {AttrRNRRetry, int(a.RNRRetry), 7},
		{AttrMinRNRTimer, int(a.MinRNRTimer), 31}, {AttrTimeout, int(a.Timeout), 31},
		{AttrMaxRdAtomic, int(a.MaxRdAtomic), q.ctx.limits.MaxRdAtomic},
		{AttrMaxDestRdAtomic, int(a.MaxDestRdAtomic), q.ctx.limits.MaxRdAtomic}} {
		if mask&x.bit != 0 && x.v > x.hi {
			return opErr("modify_qp", q.name(), ErrInvalid, "%v %d: expected 0 to %d", x.bit, x.v, x.hi)
		}
	}
	if mask&AttrAV != 0 {
		if err := q.ctx.checkGRH("modify_qp", q.name(), a.GRH); err != nil {
			return err
		}
	}
	switch {
	case mask&setAlt != 0:
		return opErr("modify_qp", q.name(), ErrInvalid, "%v: the device has no automatic path migration", mask&setAlt)
	case mask&AttrAV != 0 && q.state == SQD && a.AV != q.attr.AV:
		return opErr("modify_qp", q.name(), ErrInvalid, "AV %q: the queue pair is connected to %q, of which only the path can change",
			a.AV, q.attr.AV)
	case mask&AttrPort != 0 && a.Port != PortNum:
		return opErr("modify_qp", q.name(), ErrInvalid, "PORT %d: the device has port %d", a.Port, PortNum)
	case mask&AttrAccess != 0 && a.Access&^qpRights != 0:
		return opErr("modify_qp", q.name(), ErrInvalid, "ACCESS_FLAGS %#x: unknown flags", uint32(a.Access))
	case mask&AttrPathMTU != 0 && !q.ctx.goodMTU(a.PathMTU):
		return opErr("modify_qp", q.name(), ErrInvalid, "PATH_MTU %d: expected 256, 512, 1024, 2048 or 4096 bytes, at most %d, or %[2]d itself",
			a.PathMTU, q.ctx.mtu)
	case mask&AttrDestQPN != 0 && a.DestQPN < qpnBase:
		return opErr("modify_qp", q.name(), ErrInvalid, "DEST_QPN %d: expected %d or more", a.DestQPN, qpnBase)
	}
	return nil
}

// minMTU and maxIBMTU are the smallest and the largest path MTU of IBTA, in bytes.
const (
	minMTU   = 256
	maxIBMTU = 4096
)

// goodMTU accepts the path MTUs of IBTA that the device can carry, and the device's own.
func (c *Context) goodMTU(n int) bool {
	return n == c.mtu || n >= minMTU && n <= min(maxIBMTU, c.mtu) && bits.OnesCount(uint(n)) == 1
}

// merge takes over the attributes that mask names.
func (d *QPAttr) merge(a QPAttr, mask AttrMask) {
	take(&d.Access, a.Access, mask&AttrAccess)
	take(&d.PKeyIndex, a.PKeyIndex, mask&AttrPKeyIndex)
	take(&d.Port, a.Port, mask&AttrPort)
	take(&d.AV, a.AV, mask&AttrAV)
	take(&d.GRH, a.GRH, mask&AttrAV)
	take(&d.QKey, a.QKey, mask&AttrQKey)
	take(&d.EnSQDAsyncNotify, a.EnSQDAsyncNotify, mask&AttrEnSQDAsyncNotify)
	take(&d.PathMTU, a.PathMTU, mask&AttrPathMTU)
	take(&d.DestQPN, a.DestQPN, mask&AttrDestQPN)
	take(&d.RQPSN, a.RQPSN&ib.PSNMask, mask&AttrRQPSN)
	take(&d.SQPSN, a.SQPSN&ib.PSNMask, mask&AttrSQPSN)
	take(&d.MaxDestRdAtomic, a.MaxDestRdAtomic, mask&AttrMaxDestRdAtomic)
	take(&d.MaxRdAtomic, a.MaxRdAtomic, mask&AttrMaxRdAtomic)
	take(&d.MinRNRTimer, a.MinRNRTimer, mask&AttrMinRNRTimer)
	take(&d.Timeout, a.Timeout, mask&AttrTimeout)
	take(&d.RetryCnt, a.RetryCnt, mask&AttrRetryCnt)
	take(&d.RNRRetry, a.RNRRetry, mask&AttrRNRRetry)
}

func take[T any](dst *T, v T, named AttrMask) {
	if named != 0 {
		*dst = v
	}
}
