package ib

import "encoding/binary"

// A CMStage says which message an MRA acknowledges or a REJ rejects.
type CMStage uint8

// The stages of an exchange (sections 12.6.6 and 12.6.7).
const (
	StageREQ   CMStage = 0
	StageREP   CMStage = 1
	StageOther CMStage = 2 // an MRA of a LAP; a REJ of no message
)

// A REP accepts a REQ (section 12.6.8).
type REP struct {
	LocalCommID        uint32 // names the connection at the sender
	RemoteCommID       uint32 // at the receiver: that of the REQ
	LocalQKey          uint32
	LocalQPN           uint32 // 24 bits
	LocalEECN          uint32 // 24 bits
	StartingPSN        uint32 // 24 bits
	ResponderResources uint8
	InitiatorDepth     uint8
	TargetAckDelay     uint8 // 5 bits: 4.096 us * 2^n
	FailoverAccepted   uint8 // 2 bits
	EndToEndFlow       bool
	RNRRetryCount      uint8 // 3 bits
	SRQ                bool
	LocalCAGUID        [8]byte
	PrivateData        [196]byte
}

// Attr gives AttrREP.
func (*REP) Attr() AttributeID { return AttrREP }

// Append appends the 232 bytes of the message.
func (r *REP) Append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, r.LocalCommID)
	b = be.AppendUint32(b, r.RemoteCommID)
	b = be.AppendUint32(b, r.LocalQKey)
	b = be.AppendUint32(b, r.LocalQPN<<8)
	b = be.AppendUint32(b, r.LocalEECN<<8)
	b = be.AppendUint32(b, r.StartingPSN<<8)
	b = append(b, r.ResponderResources, r.InitiatorDepth,
		r.TargetAckDelay&31<<3|r.FailoverAccepted&3<<1|bit(r.EndToEndFlow, 0), r.RNRRetryCount&7<<5|bit(r.SRQ, 4))
	b = append(b, r.LocalCAGUID[:]...)
	return append(b, r.PrivateData[:]...)
}

// Parse decodes a message of exactly 232 bytes. The error is a *PacketError.
func (r *REP) Parse(p []byte) error {
	if err := checkLen("REP length", p, madDataLen); err != nil {
		return err
	}
	be := binary.BigEndian
	*r = REP{
		LocalCommID: be.Uint32(p), RemoteCommID: be.Uint32(p[4:]), LocalQKey: be.Uint32(p[8:]), LocalQPN: be.Uint32(p[12:]) >> 8,
		LocalEECN: be.Uint32(p[16:]) >> 8, StartingPSN: be.Uint32(p[20:]) >> 8, ResponderResources: p[24], InitiatorDepth: p[25],
		TargetAckDelay: p[26] >> 3, FailoverAccepted: p[26] >> 1 & 3, EndToEndFlow: p[26]&1 != 0,
		RNRRetryCount: p[27] >> 5, SRQ: p[27]&16 != 0, LocalCAGUID: [8]byte(p[28:]), PrivateData: [196]byte(p[36:]),
	}
	return nil
}

// An MRA says that a message has come and that the answer will take longer (section 12.6.6).
type MRA struct {
	LocalCommID, RemoteCommID uint32
	Stage                     CMStage // 2 bits: the message that has come
	ServiceTimeout            uint8   // 5 bits: 4.096 us * 2^n until the answer
	PrivateData               [222]byte
}

// Attr gives AttrMRA.
func (*MRA) Attr() AttributeID { return AttrMRA }

// Append appends the 232 bytes of the message.
func (r *MRA) Append(b []byte) []byte {
	b = appendIDs(b, r.LocalCommID, r.RemoteCommID)
	b = append(b, uint8(r.Stage)&3<<6, r.ServiceTimeout&31<<3)
	return append(b, r.PrivateData[:]...)
}

// Parse decodes a message of exactly 232 bytes. The error is a *PacketError.
func (r *MRA) Parse(p []byte) error {
	if err := checkLen("MRA length", p, madDataLen); err != nil {
		return err
	}
	*r = MRA{Stage: CMStage(p[8] >> 6), ServiceTimeout: p[9] >> 3, PrivateData: [222]byte(p[10:])}
	r.LocalCommID, r.RemoteCommID = parseIDs(p)
	return nil
}

// A REJ refuses a message and ends the exchange (section 12.6.7).
type REJ struct {
	LocalCommID, RemoteCommID uint32
	Stage                     CMStage // 2 bits: the message that is rejected
	InfoLen                   uint8   // bytes of Info that count, at most 72
	Reason                    RejectReason
	Info                      [72]byte // additional reject information: the value that would do
	PrivateData               [148]byte
}

// Attr gives AttrREJ.
func (*REJ) Attr() AttributeID { return AttrREJ }

// Append appends the 232 bytes of the message.
func (r *REJ) Append(b []byte) []byte {
	b = appendIDs(b, r.LocalCommID, r.RemoteCommID)
	b = append(b, uint8(r.Stage)&3<<6, r.InfoLen<<1)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Reason))
	b = append(b, r.Info[:]...)
	return append(b, r.PrivateData[:]...)
}

// Parse decodes a message of exactly 232 bytes, and refuses one whose additional information is longer than its place.
// The error is a *PacketError.
func (r *REJ) Parse(p []byte) error {
	if err := checkLen("REJ length", p, madDataLen); err != nil {
		return err
	}
	if n := p[9] >> 1; int(n) > len(r.Info) {
		return refuse("reject info length", uint64(n), uint64(len(r.Info)), ErrMalformed)
	}
	*r = REJ{Stage: CMStage(p[8] >> 6), InfoLen: p[9] >> 1, Reason: RejectReason(binary.BigEndian.Uint16(p[10:])),
		Info: [72]byte(p[12:]), PrivateData: [148]byte(p[84:])}
	r.LocalCommID, r.RemoteCommID = parseIDs(p)
	return nil
}

// An RTU says that the REP has come and the connection may be used (section 12.6.9).
type RTU struct {
	LocalCommID, RemoteCommID uint32
	PrivateData               [224]byte
}

// Attr gives AttrRTU.
func (*RTU) Attr() AttributeID { return AttrRTU }

// Append appends the 232 bytes of the message.
func (r *RTU) Append(b []byte) []byte {
	return append(appendIDs(b, r.LocalCommID, r.RemoteCommID), r.PrivateData[:]...)
}

// Parse decodes a message of exactly 232 bytes. The error is a *PacketError.
func (r *RTU) Parse(p []byte) error {
	if err := checkLen("RTU length", p, madDataLen); err != nil {
		return err
	}
	r.LocalCommID, r.RemoteCommID = parseIDs(p)
	r.PrivateData = [224]byte(p[8:])
	return nil
}

// A DREQ ends a connection (section 12.6.10).
type DREQ struct {
	LocalCommID, RemoteCommID uint32
	RemoteQPN                 uint32 // 24 bits: the receiver's queue pair
	PrivateData               [220]byte
}

// Attr gives AttrDREQ.
func (*DREQ) Attr() AttributeID { return AttrDREQ }

// Append appends the 232 bytes of the message.
func (r *DREQ) Append(b []byte) []byte {
	b = appendIDs(b, r.LocalCommID, r.RemoteCommID)
	b = binary.BigEndian.AppendUint32(b, r.RemoteQPN<<8)
	return append(b, r.PrivateData[:]...)
}

// Parse decodes a message of exactly 232 bytes. The error is a *PacketError.
func (r *DREQ) Parse(p []byte) error {
	if err := checkLen("DREQ length", p, madDataLen); err != nil {
		return err
	}
	*r = DREQ{RemoteQPN: binary.BigEndian.Uint32(p[8:]) >> 8, PrivateData: [220]byte(p[12:])}
	r.LocalCommID, r.RemoteCommID = parseIDs(p)
	return nil
}

// A DREP answers a DREQ (section 12.6.11).
type DREP struct {
	LocalCommID, RemoteCommID uint32
	PrivateData               [224]byte
}

// Attr gives AttrDREP.
func (*DREP) Attr() AttributeID { return AttrDREP }

// Append appends the 232 bytes of the message.
func (r *DREP) Append(b []byte) []byte {
	return append(appendIDs(b, r.LocalCommID, r.RemoteCommID), r.PrivateData[:]...)
}

// Parse decodes a message of exactly 232 bytes. The error is a *PacketError.
func (r *DREP) Parse(p []byte) error {
	if err := checkLen("DREP length", p, madDataLen); err != nil {
		return err
	}
	r.LocalCommID, r.RemoteCommID = parseIDs(p)
	r.PrivateData = [224]byte(p[8:])
	return nil
}

func appendIDs(b []byte, local, remote uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, local), remote)
}

func parseIDs(p []byte) (local, remote uint32) {
	return binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
}
