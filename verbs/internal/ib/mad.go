package ib

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// MADLen is the length in bytes of a management datagram, and MADHeaderLen of the header that all classes have.
const (
	MADLen       = 256
	MADHeaderLen = 24
	madDataLen   = MADLen - MADHeaderLen
)

// Values of the header of a MAD (section 13.4).
const (
	madBaseVersion = 1
	ClassCM        = 7 // communication management
	cmClassVersion = 2
	MethodSend     = 3
)

// QP1 is the number of the general services interface, to which the datagrams of the communication manager go, and GSIQKey
// the Q_Key that they carry (section 10.2.5).
const (
	QP1     = 1
	GSIQKey = 0x80010000
)

// An AttributeID says what a MAD holds.
type AttributeID uint16

// The messages of the communication manager (section 12.6).
const (
	AttrREQ  AttributeID = 0x10 // request for communication
	AttrMRA  AttributeID = 0x11 // message receipt acknowledgment
	AttrREJ  AttributeID = 0x12 // reject
	AttrREP  AttributeID = 0x13 // reply to request
	AttrRTU  AttributeID = 0x14 // ready to use
	AttrDREQ AttributeID = 0x15 // request to end the connection
	AttrDREP AttributeID = 0x16 // reply to it
)

var attrNames = map[AttributeID]string{AttrREQ: "REQ", AttrMRA: "MRA", AttrREJ: "REJ", AttrREP: "REP", AttrRTU: "RTU",
	AttrDREQ: "DREQ", AttrDREP: "DREP"}

func (a AttributeID) String() string {
	if n, ok := attrNames[a]; ok {
		return n
	}
	return fmt.Sprintf("attribute %#04x", uint16(a))
}

// A MAD is a management datagram (section 13.4.2): the payload of a UD SEND to queue pair 0 or 1.
type MAD struct {
	Class, ClassVersion uint8
	Method              uint8 // bit 7 marks a response
	Status              uint16
	ClassSpecific       uint16
	TID                 uint64 // transaction: the same in all datagrams of an exchange
	Attr                AttributeID
	Modifier            uint32
	Data                [madDataLen]byte
}

// Append appends the 256 bytes of the datagram.
func (m *MAD) Append(b []byte) []byte {
	be := binary.BigEndian
	b = slices.Grow(b, MADLen)
	b = append(b, madBaseVersion, m.Class, m.ClassVersion, m.Method)
	b = be.AppendUint16(b, m.Status)
	b = be.AppendUint16(b, m.ClassSpecific)
	b = be.AppendUint64(b, m.TID)
	b = be.AppendUint16(b, uint16(m.Attr))
	b = be.AppendUint16(b, 0)
	b = be.AppendUint32(b, m.Modifier)
	return append(b, m.Data[:]...)
}

// Parse decodes a datagram, which has exactly 256 bytes. The error is a *PacketError of [ErrShort] or [ErrMalformed].
func (m *MAD) Parse(p []byte) error {
	be := binary.BigEndian
	if err := checkLen("MAD length", p, MADLen); err != nil {
		return err
	}
	if p[0] != madBaseVersion {
		return refuse("MAD base version", uint64(p[0]), madBaseVersion, ErrMalformed)
	}
	*m = MAD{Class: p[1], ClassVersion: p[2], Method: p[3], Status: be.Uint16(p[4:]), ClassSpecific: be.Uint16(p[6:]),
		TID: be.Uint64(p[8:]), Attr: AttributeID(be.Uint16(p[16:])), Modifier: be.Uint32(p[20:])}
	copy(m.Data[:], p[MADHeaderLen:])
	return nil
}

func checkLen(field string, p []byte, want int) error {
	switch {
	case len(p) < want:
		return refuse(field, uint64(len(p)), uint64(want), ErrShort)
	case len(p) > want:
		return refuse(field, uint64(len(p)), uint64(want), ErrMalformed)
	}
	return nil
}

// A CMMessage is a message of the communication manager: *[REQ], *[MRA], *[REJ], *[REP], *[RTU], *[DREQ] or *[DREP].
type CMMessage interface {
	// Attr gives the attribute ID of the message.
	Attr() AttributeID
	// Append appends the message, which is the 232 bytes of data of a MAD.
	Append(b []byte) []byte
	// Parse decodes a message of exactly 232 bytes. The error is a *PacketError.
	Parse(p []byte) error
}

// NewCM gives the datagram of a message of the communication manager.
func NewCM(tid uint64, msg CMMessage) *MAD {
	m := &MAD{Class: ClassCM, ClassVersion: cmClassVersion, Method: MethodSend, TID: tid, Attr: msg.Attr()}
	msg.Append(m.Data[:0])
	return m
}

// CM gives the message of the communication manager in a datagram. Of another class, version, method, or attribute the
// error is a *PacketError of [ErrMalformed].
func (m *MAD) CM() (CMMessage, error) {
	if m.Class != ClassCM {
		return nil, refuse("MAD class", uint64(m.Class), ClassCM, ErrMalformed)
	}
	if m.ClassVersion != cmClassVersion {
		return nil, refuse("version of the CM class", uint64(m.ClassVersion), cmClassVersion, ErrMalformed)
	}
	if m.Method != MethodSend {
		return nil, refuse("CM method", uint64(m.Method), MethodSend, ErrMalformed)
	}
	var msg CMMessage
	switch m.Attr {
	case AttrREQ:
		msg = new(REQ)
	case AttrMRA:
		msg = new(MRA)
	case AttrREJ:
		msg = new(REJ)
	case AttrREP:
		msg = new(REP)
	case AttrRTU:
		msg = new(RTU)
	case AttrDREQ:
		msg = new(DREQ)
	case AttrDREP:
		msg = new(DREP)
	default:
		return nil, refuse("CM attribute", uint64(m.Attr), uint64(AttrREQ), ErrMalformed)
	}
	if err := msg.Parse(m.Data[:]); err != nil {
		return nil, err
	}
	return msg, nil
}
