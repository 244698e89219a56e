package ib

import "fmt"

// A RejectReason says why a REJ refuses (section 12.6.7.2).
type RejectReason uint16

// The reasons.
const (
	RejNoQP                   RejectReason = 1
	RejNoEEC                  RejectReason = 2
	RejNoResources            RejectReason = 3
	RejTimeout                RejectReason = 4
	RejUnsupportedRequest     RejectReason = 5
	RejInvalidCommID          RejectReason = 6
	RejInvalidCommInstance    RejectReason = 7
	RejInvalidServiceID       RejectReason = 8
	RejInvalidServiceType     RejectReason = 9
	RejStaleConnection        RejectReason = 10
	RejRDCNotExist            RejectReason = 11
	RejInvalidGID             RejectReason = 12
	RejInvalidLID             RejectReason = 13
	RejInvalidSL              RejectReason = 14
	RejInvalidTrafficClass    RejectReason = 15
	RejInvalidHopLimit        RejectReason = 16
	RejInvalidPacketRate      RejectReason = 17
	RejInvalidAltGID          RejectReason = 18
	RejInvalidAltLID          RejectReason = 19
	RejInvalidAltSL           RejectReason = 20
	RejInvalidAltTrafficClass RejectReason = 21
	RejInvalidAltHopLimit     RejectReason = 22
	RejInvalidAltPacketRate   RejectReason = 23
	RejPortCMRedirect         RejectReason = 24
	RejPortRedirect           RejectReason = 25
	RejInvalidMTU             RejectReason = 26
	RejInsufficientResources  RejectReason = 27
	RejConsumer               RejectReason = 28
	RejRNRRetryCount          RejectReason = 29
	RejDuplicateCommID        RejectReason = 30
	RejInvalidClassVersion    RejectReason = 31
	RejInvalidFlowLabel       RejectReason = 32
	RejInvalidAltFlowLabel    RejectReason = 33
)

var rejectNames = [...]string{
	RejNoQP:                   "no queue pair available",
	RejNoEEC:                  "no end-to-end context available",
	RejNoResources:            "no resources available",
	RejTimeout:                "timeout",
	RejUnsupportedRequest:     "unsupported request",
	RejInvalidCommID:          "invalid communication ID",
	RejInvalidCommInstance:    "invalid communication instance",
	RejInvalidServiceID:       "invalid service ID",
	RejInvalidServiceType:     "invalid transport service type",
	RejStaleConnection:        "stale connection",
	RejRDCNotExist:            "reliable datagram channel does not exist",
	RejInvalidGID:             "primary remote port GID rejected",
	RejInvalidLID:             "primary remote port LID rejected",
	RejInvalidSL:              "invalid primary service level",
	RejInvalidTrafficClass:    "invalid primary traffic class",
	RejInvalidHopLimit:        "invalid primary hop limit",
	RejInvalidPacketRate:      "invalid primary packet rate",
	RejInvalidAltGID:          "alternate remote port GID rejected",
	RejInvalidAltLID:          "alternate remote port LID rejected",
	RejInvalidAltSL:           "invalid alternate service level",
	RejInvalidAltTrafficClass: "invalid alternate traffic class",
	RejInvalidAltHopLimit:     "invalid alternate hop limit",
	RejInvalidAltPacketRate:   "invalid alternate packet rate",
	RejPortCMRedirect:         "redirected to another port and manager",
	RejPortRedirect:           "redirected to another port",
	RejInvalidMTU:             "invalid path MTU",
	RejInsufficientResources:  "insufficient responder resources",
	RejConsumer:               "rejected by the consumer",
	RejRNRRetryCount:          "RNR retry count rejected",
	RejDuplicateCommID:        "duplicate local communication ID",
	RejInvalidClassVersion:    "invalid class version",
	RejInvalidFlowLabel:       "invalid primary flow label",
	RejInvalidAltFlowLabel:    "invalid alternate flow label",
}

func (r RejectReason) String() string {
	if int(r) < len(rejectNames) && rejectNames[r] != "" {
		return rejectNames[r]
	}
	return fmt.Sprintf("reject reason %d", uint16(r))
}
