package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// The table is an array of slots of the same length. A slot holds, from its first byte:
//
//	 8 bytes  the version: 0 is a slot that was never used, odd is one that a client is writing, even is one that can be read.
//	          It is a number in the byte order of the machine, because atomics act on it
//	 8 bytes  a checksum of all the rest, version included
//	 2 bytes  lengths of key and value
//	30 bytes  the key
//	80 bytes  the value
//
// The checksum is what makes a lookup one READ. A READ of many bytes is not atomic: it may see some bytes
// from before a client's write and some from after it. Such a slot is torn, its checksum is wrong, and the reader reads again.
const (
	slotLen  = 128
	maxKey   = 30
	maxValue = 80
)

const (
	offVersion  = 0
	offChecksum = 8
	offKeyLen   = 16
	offValueLen = 17
	offKey      = 18
	offValue    = offKey + maxKey
)

type slot [slotLen]byte

func (s *slot) version() uint64 { return binary.NativeEndian.Uint64(s[offVersion:]) }

func checksum(version uint64, body []byte) uint64 {
	h := fnv.New64a()
	var v [8]byte
	binary.LittleEndian.PutUint64(v[:], version)
	h.Write(v[:])
	h.Write(body)
	return h.Sum64()
}

// fill puts a pair into the slot, and the checksum that fits when the slot has a version.
func (s *slot) fill(version uint64, key, value string) {
	clear(s[offChecksum:])
	s[offKeyLen], s[offValueLen] = byte(len(key)), byte(len(value))
	copy(s[offKey:], key)
	copy(s[offValue:], value)
	binary.LittleEndian.PutUint64(s[offChecksum:], checksum(version, s[offKeyLen:]))
}

// state of a slot as a READ has found it.
type state int

const (
	unused  state = iota
	writing       // or torn: read again
	full
)

// parse says what is in the slot. It trusts nothing: the memory is open to every client.
func (s *slot) parse() (st state, key, value string) {
	v := s.version()
	k, n := int(s[offKeyLen]), int(s[offValueLen])
	switch {
	case v == 0:
		return unused, "", ""
	case v%2 == 1, k > maxKey, n > maxValue, binary.LittleEndian.Uint64(s[offChecksum:]) != checksum(v, s[offKeyLen:]):
		return writing, "", ""
	}
	return full, string(s[offKey : offKey+k]), string(s[offValue : offValue+n])
}

// home is the slot at which the search for a key begins.
func home(key string, slots int) int {
	h := fnv.New64a()
	h.Write([]byte(key))
	return int(h.Sum64() % uint64(slots))
}

func checkPair(key, value string) error {
	switch {
	case len(key) < 1 || len(key) > maxKey:
		return fmt.Errorf("key of %d bytes: want 1 to %d", len(key), maxKey)
	case len(value) > maxValue:
		return fmt.Errorf("value of %d bytes: want at most %d", len(value), maxValue)
	}
	return nil
}
