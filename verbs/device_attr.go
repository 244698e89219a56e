package verbs

import (
	"fmt"
	"strings"

	"outboard/verbs/internal/ib"
)

// A GUID is an EUI-64, the name of a node or a port (IBTA 4.1.1).
type GUID [8]byte

// String writes four groups, as ibv_devinfo does.
func (g GUID) String() string { return fmt.Sprintf("%x:%x:%x:%x", g[0:2], g[2:4], g[4:6], g[6:8]) }

// DeviceAttr are the attributes of the device (ibv_query_device_ex(3), with the names of ibv_device_attr_ex).
// What this device has none of, such as raw packets or on-demand paging, has no field.
type DeviceAttr struct {
	FWVer        string
	NodeGUID     GUID
	SysImageGUID GUID // of the NIC that this is a part of: NodeGUID
	VendorID     uint32
	VendorPartID uint32
	HWVer        uint32
	PhysPortCnt  uint8

	MaxMRSize       uint64
	PageSizeCap     uint64 // bit i: pages of 2^i bytes
	MaxQP           int
	MaxQPWR         int
	CapFlags        CapFlags
	MaxSGE          int // of SEND and WRITE
	MaxSGERd        int // of READ
	MaxCQ           int
	MaxCQE          int
	MaxMR           int
	MaxPD           int
	MaxQPRdAtom     int // READs and atomics that a queue pair serves at a time
	MaxResRdAtom    int // that all queue pairs serve at a time
	MaxQPInitRdAtom int // that a queue pair has in flight
	AtomicCap       AtomicCap
	MaxMW           int
	MaxAH           int
	MaxSRQ          int
	MaxSRQWR        int
	MaxSRQSGE       int
	MaxPKeys        int
	MaxCompCntr     int
	CompCntrOps     CounterOps // that can be counted (ibv_query_comp_cntr_caps)
	LocalCAAckDelay uint8      // the device acknowledges within 4.096 µs × 2^LocalCAAckDelay, while its host polls

	TM TMCaps
}

// CapFlags are device_cap_flags, with the numbers of ibv_device_cap_flags.
type CapFlags uint32

// The flags that a device like this one can have; QueryDevice tells which it has.
const (
	CapResizeMaxWR      CapFlags = 1 << 0
	CapBadPKeyCntr      CapFlags = 1 << 1
	CapBadQKeyCntr      CapFlags = 1 << 2
	CapUDAVPortEnforce  CapFlags = 1 << 6
	CapCurrQPStateMod   CapFlags = 1 << 7
	CapPortActiveEvent  CapFlags = 1 << 10
	CapSysImageGUID     CapFlags = 1 << 11
	CapRCRNRNakGen      CapFlags = 1 << 12 // a receive that is missing is answered by an RNR NAK
	CapSRQResize        CapFlags = 1 << 13
	CapNNotifyCQ        CapFlags = 1 << 14
	CapMemWindow        CapFlags = 1 << 17
	CapXRC              CapFlags = 1 << 20
	CapMemMgtExtensions CapFlags = 1 << 21
	CapMemWindowType2A  CapFlags = 1 << 23
	CapMemWindowType2B  CapFlags = 1 << 24
)

var capText = map[CapFlags]string{
	CapResizeMaxWR: "RESIZE_MAX_WR", CapBadPKeyCntr: "BAD_PKEY_CNTR", CapBadQKeyCntr: "BAD_QKEY_CNTR",
	CapUDAVPortEnforce: "UD_AV_PORT_ENFORCE", CapCurrQPStateMod: "CURR_QP_STATE_MOD", CapPortActiveEvent: "PORT_ACTIVE_EVENT",
	CapSysImageGUID: "SYS_IMAGE_GUID", CapRCRNRNakGen: "RC_RNR_NAK_GEN", CapSRQResize: "SRQ_RESIZE", CapNNotifyCQ: "N_NOTIFY_CQ",
	CapMemWindow: "MEM_WINDOW", CapXRC: "XRC", CapMemMgtExtensions: "MEM_MGT_EXTENSIONS",
	CapMemWindowType2A: "MEM_WINDOW_TYPE_2A", CapMemWindowType2B: "MEM_WINDOW_TYPE_2B",
}

// Names are the names of the flags in the order of their bits, as ibv_devinfo lists them.
func (f CapFlags) Names() (names []string) {
	for bit := CapFlags(1); bit != 0; bit <<= 1 {
		if f&bit == 0 {
			continue
		}
		if t, ok := capText[bit]; ok {
			names = append(names, t)
		} else {
			names = append(names, fmt.Sprintf("Unknown flags: 0x%X", uint32(bit)))
		}
	}
	return names
}

func (f CapFlags) String() string { return strings.Join(f.Names(), "|") }

// AtomicCap is how far atomics are atomic (IBTA 11.2.1.2, ibv_atomic_cap).
type AtomicCap uint8

const (
	AtomicNone AtomicCap = iota
	AtomicHCA            // among the queue pairs of one device
	AtomicGlob           // also with the processors of the machine
)

func (a AtomicCap) String() string {
	switch a {
	case AtomicNone:
		return "ATOMIC_NONE"
	case AtomicHCA:
		return "ATOMIC_HCA"
	case AtomicGlob:
		return "ATOMIC_GLOB"
	}
	return fmt.Sprintf("atomic capability %d", uint8(a))
}

// TMCaps are the capabilities of tag matching (ibv_tm_caps).
type TMCaps struct {
	MaxRndvHdrSize int // bytes of the headers of a rendezvous request
	MaxNumTags     int // tagged buffers of one shared receive queue
	MaxOps         int // list operations in flight on one of them
	MaxSGE         int // pieces of one tagged buffer
	Flags          TMFlags
}

// TMFlags are the flags of TMCaps, with the numbers of ibv_tm_cap_flags.
type TMFlags uint32

// TMCapRC says that messages of reliable connections are matched.
const TMCapRC TMFlags = 1 << 0

const (
	firmware     = "1.0.0"
	caAckDelay   = 15 // 134 ms: a host that computes is relieved by its progress goroutine long before
	smallestPage = 4096
)

// QueryDevice returns the attributes of the device. They stay the same while the context is open, and after.
func (c *Context) QueryDevice() DeviceAttr {
	l, guid := &c.limits, GUID(ib.GUIDOf(c.Addr()))
	return DeviceAttr{
		FWVer: firmware, NodeGUID: guid, SysImageGUID: guid, PhysPortCnt: 1,
		MaxMRSize: uint64(l.MaxMRSize), PageSizeCap: ^uint64(smallestPage - 1),
		MaxQP: l.MaxQP, MaxQPWR: l.MaxWR,
		CapFlags: CapSysImageGUID | CapRCRNRNakGen | CapMemWindow | CapMemWindowType2B, MaxSGE: l.MaxSGE, MaxSGERd: l.MaxSGE,
		MaxCQ: l.MaxCQ, MaxCQE: l.MaxCQE, MaxMR: l.MaxMR, MaxPD: l.MaxPD,
		MaxQPRdAtom: l.MaxRdAtomic, MaxResRdAtom: l.MaxRdAtomic * l.MaxQP, MaxQPInitRdAtom: l.MaxRdAtomic, AtomicCap: AtomicGlob,
		MaxMW: l.MaxMW, MaxAH: l.MaxAH, MaxSRQ: l.MaxSRQ, MaxSRQWR: l.MaxSRQWR, MaxSRQSGE: l.MaxSRQSGE,
		MaxPKeys: l.MaxPKeys, MaxCompCntr: l.MaxCounters, CompCntrOps: allCounterOps, LocalCAAckDelay: caAckDelay,
		TM: TMCaps{MaxRndvHdrSize: l.MaxTMRndvHdr, MaxNumTags: l.MaxTMTags, MaxOps: l.MaxTMOps, MaxSGE: l.MaxTMSGE, Flags: TMCapRC},
	}
}
