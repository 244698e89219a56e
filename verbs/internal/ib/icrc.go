package ib

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// The invariant CRC (section 7.8.1, annex A17) is the CRC-32 of Ethernet over a pseudo header and the packet up to the CRC:
// 8 bytes of ones where InfiniBand has its local route header, and what routers may change (traffic class, flow label,
// hop limit, UDP checksum, the BTH's FECN, BECN and reserved byte) as ones too. The masked part is some
// sixty bytes that exist nowhere in memory, so they are fed to the CRC from registers, eight at a time; the rest goes to hash/crc32 in one piece.

// UDPPort is the UDP destination port of RoCEv2.
const UDPPort = 4791

// UDPLen is the length in bytes of the UDP header that a packet has on the wire, between IPv6 header and BTH.
const UDPLen = 8

// UDPSourcePort gives the UDP source port of packets to a queue pair: 0xC000 to 0xFFFF, the same for all, so that they take
// one path through the network.
func UDPSourcePort(destQP uint32) uint16 {
	return 0xC000 | uint16((destQP^destQP>>14)&0x3FFF)
}

// crcTables holds, for each distance k, the CRC of each byte followed by k bytes of zeros.
var crcTables = makeCRCTables()

// prefixState is the state of the CRC after 8 bytes of ones and the first four bytes of a masked IPv6 header.
var prefixState = ^crc32.ChecksumIEEE([]byte{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0x6f, 0xff, 0xff, 0xff,
})

func makeCRCTables() (t [8][256]uint32) {
	t[0] = *crc32.IEEETable
	for k := 1; k < len(t); k++ {
		for i, v := range t[k-1] {
			t[k][i] = t[0][byte(v)] ^ v>>8
		}
	}
	return t
}

// crc4 adds four bytes, the first in the lowest bits, to the state of a CRC.
func crc4(s, v uint32) uint32 {
	s ^= v
	t := &crcTables
	return t[3][byte(s)] ^ t[2][byte(s>>8)] ^ t[1][byte(s>>16)] ^ t[0][s>>24]
}

// crc8 adds eight bytes.
func crc8(s uint32, v uint64) uint32 {
	v ^= uint64(s)
	t := &crcTables
	return t[7][byte(v)] ^ t[6][byte(v>>8)] ^ t[5][byte(v>>16)] ^ t[4][byte(v>>24)] ^
		t[3][byte(v>>32)] ^ t[2][byte(v>>40)] ^ t[1][byte(v>>48)] ^ t[0][v>>56]
}

// icrc computes the invariant CRC of a packet that ends where its CRC begins, at least 52 bytes.
func icrc(p []byte) uint32 {
	le := binary.LittleEndian
	s := crc4(prefixState, le.Uint32(p[4:])|0xff<<24)
	for i := 8; i < GRHLen; i += 8 {
		s = crc8(s, le.Uint64(p[i:]))
	}
	port := bits.ReverseBytes16(UDPSourcePort(binary.BigEndian.Uint32(p[44:]) & PSNMask))
	s = crc8(s, uint64(port)|uint64(UDPPort&0xff<<8|UDPPort>>8)<<16|uint64(le.Uint16(p[4:]))<<32|0xffff<<48)
	s = crc8(s, le.Uint64(p[GRHLen:])|0xff<<32)
	return crc32.Update(^s, crc32.IEEETable, p[GRHLen+8:])
}
