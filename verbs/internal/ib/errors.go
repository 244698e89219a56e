package ib

import (
	"errors"
	"fmt"
)

// Reasons for which a packet or a datagram is refused, wrapped in a *PacketError.
var (
	ErrShort     = errors.New("packet too short")
	ErrICRC      = errors.New("invariant CRC does not match")
	ErrMalformed = errors.New("malformed packet")
	// ErrOpcode is the refusal of an intact packet whose opcode is reserved. The header is decoded up to and with the
	// BTH, for a responder of RC answers such a packet (section 9.7.4.1: NAK, invalid request).
	ErrOpcode = errors.New("reserved opcode")
)

// A PacketError says which field of a packet is wrong.
type PacketError struct {
	Field string // "IP version", "ICRC"
	Got   uint64 // the value that the packet holds
	Want  uint64 // the value expected; for a length with ErrShort, the least
	Err   error  // one of the sentinels above
}

func (e *PacketError) Error() string {
	return fmt.Sprintf("ib: %s is %#x, expected %#x: %v", e.Field, e.Got, e.Want, e.Err)
}

// Unwrap gives the sentinel.
func (e *PacketError) Unwrap() error { return e.Err }

func refuse(field string, got, want uint64, err error) error {
	return &PacketError{Field: field, Got: got, Want: want, Err: err}
}
