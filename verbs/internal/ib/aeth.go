package ib

import "fmt"

// A SyndromeKind is what an acknowledgement says: bits 7 to 5 of the syndrome of the AETH (section 9.7.5.2).
type SyndromeKind uint8

// The kinds of acknowledgement; every other value is reserved.
const (
	SyndromeACK SyndromeKind = 0 // the value is a credit count, or NoCredits
	SyndromeRNR SyndromeKind = 1 // receiver not ready; the value is the code of a time (ibv_qp_attr.min_rnr_timer)
	SyndromeNAK SyndromeKind = 3 // the value is a NAKCode
)

// NoCredits is the value of an ACK without end-to-end flow control.
const NoCredits = 31

// A NAKCode is the reason of a NAK (section 9.7.5.2); codes that have no name here are reserved.
type NAKCode uint8

// The NAK codes.
const (
	NAKSequence    NAKCode = 0 // PSN sequence error: a packet is missing
	NAKInvalid     NAKCode = 1 // invalid request
	NAKAccess      NAKCode = 2 // remote access error
	NAKOperational NAKCode = 3 // remote operational error
	NAKInvalidRD   NAKCode = 4 // invalid RD request
)

var nakNames = [...]string{"PSN sequence error", "invalid request", "remote access error", "remote operational error", "invalid RD request"}

func (c NAKCode) String() string {
	if int(c) < len(nakNames) {
		return nakNames[c]
	}
	return fmt.Sprintf("NAK code %d", uint8(c))
}

const syndromeValue = 1<<5 - 1

// AckSyndrome gives the syndrome of an ACK; credits is an encoded credit count, 0 to 30, or [NoCredits].
func AckSyndrome(credits uint8) uint8 { return uint8(SyndromeACK)<<5 | credits&syndromeValue }

// RNRSyndrome gives the syndrome of an RNR NAK; timer is the responder's min_rnr_timer, 0 to 31.
func RNRSyndrome(timer uint8) uint8 { return uint8(SyndromeRNR)<<5 | timer&syndromeValue }

// NAKSyndrome gives the syndrome of a NAK.
func NAKSyndrome(code NAKCode) uint8 { return uint8(SyndromeNAK)<<5 | uint8(code)&syndromeValue }

// DecodeSyndrome splits a syndrome into kind and value. A kind other than the three named ones is reserved.
func DecodeSyndrome(s uint8) (kind SyndromeKind, value uint8) {
	return SyndromeKind(s >> 5), s & syndromeValue
}
