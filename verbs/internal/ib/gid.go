package ib

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// A GID is the address of a port: 128 bits, an IPv6 address (section 4.1.1).
type GID [16]byte

// GIDOf gives the global identifier of the NIC with a fabric address: a unique local IPv6 address (RFC 4193) of 120 bits
// of a hash, so that whoever knows the address of a NIC knows its GID.
func GIDOf(addr string) GID {
	h := sha256.Sum256([]byte(addr))
	g := GID{0xfd}
	copy(g[1:], h[:])
	return g
}

// LinkLocal gives the default GID of the same NIC, index 0 of its table: fe80::/64 and its GUID.
func LinkLocal(addr string) GID {
	g := GID{0xfe, 0x80}
	guid := GUIDOf(addr)
	copy(g[8:], guid[:])
	return g
}

// GUIDOf gives the node GUID of the NIC with a fabric address: the EUI-64 form (RFC 4291 appendix A) of the locally administered
// hardware address that is in the same bytes of [GIDOf].
func GUIDOf(addr string) [8]byte {
	g := GIDOf(addr)
	const group, local = 1, 2 // of the first byte; "local" is inverted in an interface identifier
	return [8]byte{g[8] &^ (group | local), g[9], g[10], 0xff, 0xfe, g[13], g[14], g[15]}
}

// LIDOf gives the local identifier of the NIC with a fabric address: 1 to 0xbfff, the unicast range (section 4.1.3). Two
// NICs may have the same: no packet is routed by it.
func LIDOf(addr string) uint16 {
	h := sha256.Sum256([]byte(addr))
	return 1 + binary.BigEndian.Uint16(h[30:])%0xbfff
}

// HardwareAddr gives the Ethernet address that stands for a GID in a trace. All GIDs of a NIC have the same, which is
// locally administered; that of a multicast group is as RFC 2464 maps it.
func (g GID) HardwareAddr() [6]byte {
	if g[0] == 0xff {
		return [6]byte{0x33, 0x33, g[12], g[13], g[14], g[15]}
	}
	const group, local = 1, 2
	return [6]byte{g[8]&^group | local, g[9], g[10], g[13], g[14], g[15]}
}

// String gives eight full groups, as ibv_devinfo prints a GID.
func (g GID) String() string {
	b := make([]byte, 0, 39)
	for i := 0; i < len(g); i += 2 {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, g[i:i+2])
	}
	return string(b)
}
