package verbs

import (
	"fmt"
	"math/bits"

	"outboard/verbs/internal/ib"
)

// PortNum is the number of the device's only port.
const PortNum = 1

// A GID is a global identifier of a port (IBTA 4.1.1).
type GID = ib.GID

// PortState is the logical state of a port, with the numbers of ibv_port_state.
type PortState uint8

const (
	PortNop PortState = iota
	PortDown
	PortInit
	PortArmed
	PortActive
)

var portStateText = [...]string{"PORT_NOP", "PORT_DOWN", "PORT_INIT", "PORT_ARMED", "PORT_ACTIVE"}

func (s PortState) String() string {
	if int(s) < len(portStateText) {
		return portStateText[s]
	}
	return fmt.Sprintf("port state %d", uint8(s))
}

// PhysState is the physical state of a port (IBTA table 148, PortPhysicalState).
type PhysState uint8

const (
	PhysSleep PhysState = iota + 1
	PhysPolling
	PhysDisabled
	PhysTraining
	PhysLinkUp
	PhysLinkErrorRecovery
	PhysTest
)

var physStateText = [...]string{"", "SLEEP", "POLLING", "DISABLED", "PORT_CONFIGURATION_TRAINING", "LINK_UP", "LINK_ERROR_RECOVERY", "PHY_TEST"}

func (s PhysState) String() string {
	if s >= PhysSleep && int(s) < len(physStateText) {
		return physStateText[s]
	}
	return fmt.Sprintf("physical state %d", uint8(s))
}

// LinkLayer is what carries the packets of a port, in the kernel's words.
type LinkLayer string

const (
	LinkInfiniBand LinkLayer = "InfiniBand"
	LinkEthernet   LinkLayer = "Ethernet"
)

// A Width is a number of lanes, coded as in ibv_port_attr.active_width, and a Speed that of one lane, as in active_speed.
type (
	Width uint8
	Speed uint8
)

// Width4X and Speed25 make 100 Gb/s.
const (
	Width4X Width = 2
	Speed25 Speed = 32
)

func (w Width) String() string {
	switch w {
	case 1, 2, 4, 8:
		return [...]string{1: "1X", 2: "4X", 4: "8X", 8: "12X"}[w]
	case 16:
		return "2X"
	}
	return fmt.Sprintf("width %d", uint8(w))
}

func (s Speed) String() string {
	switch s {
	case 1:
		return "2.5 Gbps"
	case 2:
		return "5.0 Gbps"
	case 4, 8:
		return "10.0 Gbps"
	case 16:
		return "14.0 Gbps"
	case 32:
		return "25.0 Gbps"
	case 64:
		return "50.0 Gbps"
	case 128:
		return "100.0 Gbps"
	}
	return fmt.Sprintf("speed %d", uint8(s))
}

// PortAttr are the attributes of a port (ibv_query_port(3), with the names of ibv_port_attr).
type PortAttr struct {
	State        PortState
	PhysState    PhysState
	MaxMTU       int // bytes: the largest path MTU of IBTA
	ActiveMTU    int // bytes: the largest path MTU of IBTA that the fabric carries
	GIDTblLen    int
	PKeyTblLen   int
	MaxMsgSz     uint64 // bytes
	LID          uint16 // of the port; unlike that of a real port on Ethernet it is not 0
	SMLID        uint16 // of the subnet manager: there is none
	LMC          uint8  // low bits of the LID that do not count
	LinkLayer    LinkLayer
	BadPKeyCntr  uint32 // 0: without CapBadPKeyCntr and CapBadQKeyCntr a device does not count what it refuses for its keys;
	QKeyViolCntr uint32 // it is among HWCounters.Dropped
	ActiveWidth  Width  // with ActiveSpeed: nominal. A fabric is as fast as the machine
	ActiveSpeed  Speed
}

// pkeyTable is the P_Key table of the port: the default partition, as a full member (IBTA 10.9.1.2).
var pkeyTable = [...]uint16{0xffff}

// packetHeaders are the bytes that the headers of a packet can take where the fabric carries whole InfiniBand packets.
const packetHeaders = 128

// ibMTU is the largest path MTU of IBTA in so many bytes, 0 if there is none.
func ibMTU(room int) int {
	if room < minMTU {
		return 0
	}
	return 1 << (bits.Len(uint(min(room, maxIBMTU))) - 1)
}

// packetMTU is the largest path MTU of IBTA packets on a fabric that carries so many bytes.
func packetMTU(n int) int { return ibMTU(n - packetHeaders) }

// QueryPort returns the attributes of a port (ibv_query_port(3)): the port of an open context is active.
// ErrInvalid for a port that the device does not have, ErrDestroyed after Close.
func (c *Context) QueryPort(port uint8) (PortAttr, error) {
	if err := c.checkPort("query_port", port); err != nil {
		return PortAttr{}, err
	}
	return PortAttr{
		State: PortActive, PhysState: PhysLinkUp, MaxMTU: maxIBMTU, ActiveMTU: packetMTU(c.mtu),
		GIDTblLen: len(c.gids), PKeyTblLen: len(pkeyTable), MaxMsgSz: uint64(c.limits.MaxMsg), LID: ib.LIDOf(c.port.Addr()),
		LinkLayer: LinkEthernet, ActiveWidth: Width4X, ActiveSpeed: Speed25,
	}, nil
}

// GIDType says which packets go out under a GID, with the numbers of ibv_gid_type.
type GIDType uint8

const (
	GIDTypeIB     GIDType = iota // InfiniBand
	GIDTypeRoCEv1                // InfiniBand packets in Ethernet frames
	GIDTypeRoCEv2                // in UDP datagrams
)

func (t GIDType) String() string {
	switch t {
	case GIDTypeIB:
		return "IB"
	case GIDTypeRoCEv1:
		return "RoCE v1"
	case GIDTypeRoCEv2:
		return "RoCE v2"
	}
	return fmt.Sprintf("GID type %d", uint8(t))
}

// A GIDEntry is an entry of a GID table (ibv_gid_entry).
type GIDEntry struct {
	GID   GID
	Index int
	Type  GIDType
}

// QueryGIDTable returns the valid entries of a port's GID table (ibv_query_gid_table(3)). Errors as QueryPort.
func (c *Context) QueryGIDTable(port uint8) ([]GIDEntry, error) {
	if err := c.checkPort("query_gid_table", port); err != nil {
		return nil, err
	}
	var entries []GIDEntry
	for i, g := range c.gids {
		entries = append(entries, GIDEntry{GID: g, Index: i, Type: GIDTypeRoCEv2})
	}
	return entries, nil
}

// QueryGID returns an entry of a port's GID table (ibv_query_gid(3)): index 0 is the link-local GID, index 1 the
// unique-local one; both are of RoCE v2. ErrInvalid for a port or an index outside the table, ErrDestroyed after Close.
func (c *Context) QueryGID(port uint8, index int) (GID, error) {
	if err := c.checkPort("query_gid", port); err != nil {
		return GID{}, err
	}
	t := c.gids
	if index < 0 || index >= len(t) {
		return GID{}, opErr("query_gid", "", ErrInvalid, "index %d: expected 0 to %d", index, len(t)-1)
	}
	return t[index], nil
}

// QueryPKey returns an entry of a port's P_Key table (ibv_query_pkey(3)). Errors as QueryGID.
func (c *Context) QueryPKey(port uint8, index int) (uint16, error) {
	if err := c.checkPort("query_pkey", port); err != nil {
		return 0, err
	}
	if index < 0 || index >= len(pkeyTable) {
		return 0, opErr("query_pkey", "", ErrInvalid, "index %d: expected 0 to %d", index, len(pkeyTable)-1)
	}
	return pkeyTable[index], nil
}

func (c *Context) checkPort(op string, port uint8) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return opErr(op, "", ErrDestroyed, "context is closed")
	case port != PortNum:
		return opErr(op, "", ErrInvalid, "port %d: expected %d, the only one", port, PortNum)
	}
	return nil
}
