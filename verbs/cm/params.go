package cm

import (
	"encoding/binary"

	"outboard/verbs"
	"outboard/verbs/internal/ib"
)

// The private data that messages carry, in bytes. The peer sees all of them, those that were not given as zeros.
const (
	MaxRequestData = 56 // of a Dial: the 92 bytes of a REQ less the 36 of rdma_cm's own header
	MaxAcceptData  = 196
	MaxRejectData  = 148
)

// MaxDepth as a depth stands for as many as both sides allow.
const MaxDepth = 0xff

// ConnParam are the parameters of a connection (rdma_conn_param).
type ConnParam struct {
	// ResponderResources is how many READs and atomics of the peer this side serves at a time, InitiatorDepth how many it has in
	// flight. Each becomes at most what the peer's opposite and the device allow.
	ResponderResources, InitiatorDepth uint8
	// RetryCount is how often a request is sent again that the peer does not acknowledge, 0 to 7. That of the side that dials counts for both.
	RetryCount uint8
	// RNRRetryCount is how often the peer may repeat what finds no receive here, 0 to 7; 7 is for ever.
	RNRRetryCount uint8
}

// DefaultConnParam is what a nil Params.Conn stands for.
var DefaultConnParam = ConnParam{ResponderResources: MaxDepth, InitiatorDepth: MaxDepth, RetryCount: 7, RNRRetryCount: 7}

// Params say what to connect and how.
type Params struct {
	// PD and Init make the queue pair, RC or UC, which then belongs to the Conn. Or QP is one in RESET or INIT
	// that stays the caller's: it should be destroyed, or moved to RESET, only after Conn.Close.
	PD   *verbs.PD
	Init verbs.QPInit
	QP   *verbs.QP

	// Prepare, if set, is called with the queue pair in INIT, before the peer can reach it: to post receives.
	Prepare func(*verbs.QP) error

	Conn *ConnParam // nil: DefaultConnParam
	// Access is what the peer may do with the queue pair. 0 stands for what rdma_cm gives: RemoteWrite and, with responder resources,
	// RemoteRead and RemoteAtomic.
	Access verbs.Access
	// MTU is the path MTU to ask for in a Dial, in bytes: 256 to 4096. 0 is what the port has (PortAttr.ActiveMTU). The peer may lower it.
	MTU int
	// AckTimeout is the acknowledgement timeout 4.096 µs × 2^AckTimeout, 1 to 31; 0 stands for 15.
	AckTimeout uint8

	PrivateData []byte
}

const (
	defaultAckTimeout = 15
	minRNRTimer       = 12 // 640 µs
)

// check returns the parameters with the defaults filled in. addr is the peer.
func (p *Params) check(op, addr string, maxData int) (ConnParam, error) {
	c := DefaultConnParam
	if p.Conn != nil {
		c = *p.Conn
	}
	if p.AckTimeout == 0 {
		p.AckTimeout = defaultAckTimeout
	}
	kind := p.qpType()
	switch {
	case p.QP == nil && p.PD == nil:
		return c, fail(op, addr, ErrInvalid, "neither a queue pair nor a protection domain to make one in")
	case p.QP == nil && (p.Init.SendCQ == nil || p.Init.RecvCQ == nil):
		return c, fail(op, addr, ErrInvalid, "a queue pair needs a send and a receive completion queue")
	case kind != verbs.RC && kind != verbs.UC:
		return c, fail(op, addr, ErrInvalid, "queue pair of type %v: expected RC or UC", kind)
	case len(p.PrivateData) > maxData:
		return c, fail(op, addr, ErrInvalid, "%d bytes of private data: expected at most %d", len(p.PrivateData), maxData)
	case c.RetryCount > 7:
		return c, fail(op, addr, ErrInvalid, "retry count %d: expected 0 to 7", c.RetryCount)
	case c.RNRRetryCount > 7:
		return c, fail(op, addr, ErrInvalid, "RNR retry count %d: expected 0 to 7", c.RNRRetryCount)
	case p.AckTimeout > 31:
		return c, fail(op, addr, ErrInvalid, "acknowledgement timeout %d: expected 0 to 31", p.AckTimeout)
	case p.MTU != 0 && mtuCode(p.MTU) == 0:
		return c, fail(op, addr, ErrInvalid, "path MTU %d: expected 256, 512, 1024, 2048 or 4096", p.MTU)
	}
	return c, nil
}

// qpType is the type of the queue pair that the parameters make or name.
func (p *Params) qpType() verbs.QPType {
	if p.QP == nil {
		return p.Init.Type
	}
	_, made := p.QP.Query()
	return made.Type
}

// clip lowers the depths to what the device has.
func (c *ConnParam) clip(dev *verbs.Context) {
	limit := uint8(min(dev.Limits().MaxRdAtomic, MaxDepth))
	c.ResponderResources, c.InitiatorDepth = min(c.ResponderResources, limit), min(c.InitiatorDepth, limit)
}

// meet lowers the depths to what the peer has.
func (c *ConnParam) meet(responderResources, initiatorDepth uint8) {
	c.ResponderResources, c.InitiatorDepth = min(c.ResponderResources, initiatorDepth), min(c.InitiatorDepth, responderResources)
}

// mtuCode is the number of ibv_mtu of a path MTU in bytes, 0 if it is none.
func mtuCode(n int) uint8 {
	for code := uint8(1); code <= 5; code++ {
		if mtuBytes(code) == n {
			return code
		}
	}
	return 0
}

func mtuBytes(code uint8) int { return 128 << code }

// serviceID is the service ID of a port in the TCP port space (RDMA_PS_TCP).
func serviceID(port uint16) uint64 { return 0x106<<16 | uint64(port) }

// headerLen is the length of what rdma_cm puts in front of the private data of a REQ: version, IP version, the port that dials, both addresses.
const headerLen = 36

func appendHeader(b []byte, port uint16, src, dst ib.GID) []byte {
	const ipv6 = 6 << 4
	b = append(b, 0, ipv6)
	b = binary.BigEndian.AppendUint16(b, port)
	b = append(b, src[:]...)
	return append(b, dst[:]...)
}

// goodHeader tells whether the private data of a REQ begins with rdma_cm's: of version 0, and of IP version 4 or 6.
func goodHeader(r *ib.REQ) bool {
	version, ip := r.PrivateData[0], r.PrivateData[1]>>4
	return version == 0 && (ip == 4 || ip == 6)
}
