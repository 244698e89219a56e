package ib

import "encoding/binary"

// A ServiceType is the transport that a REQ asks for.
type ServiceType uint8

// The transport service types of a REQ (section 12.6.5).
const (
	ServiceRC ServiceType = 0
	ServiceUC ServiceType = 1
)

// A Path is how the packets of a connection go, seen from the sender of the REQ (section 12.7).
type Path struct {
	LocalLID, RemoteLID uint16
	LocalGID, RemoteGID GID
	FlowLabel           uint32 // 20 bits
	Rate                uint8  // 6 bits, of ibv_rate
	TrafficClass        uint8
	HopLimit            uint8
	SL                  uint8 // 4 bits
	SubnetLocal         bool
	AckTimeout          uint8 // 5 bits: 4.096 us * 2^AckTimeout
}

const pathLen = 44

// A REQ asks for a connection (section 12.6.5). Numbers wider than their field are cut.
type REQ struct {
	LocalCommID        uint32 // names the connection at the sender
	ServiceID          uint64
	LocalCAGUID        [8]byte
	LocalQKey          uint32
	LocalQPN           uint32 // 24 bits
	LocalEECN          uint32 // 24 bits; of reliable datagrams
	RemoteEECN         uint32 // 24 bits
	ResponderResources uint8  // READs and atomics that the sender accepts at a time
	InitiatorDepth     uint8  // that it sends at a time
	StartingPSN        uint32 // 24 bits
	ServiceType        ServiceType
	ExtendedType       uint8 // 3 bits: 1 for XRC, of service type 3
	EndToEndFlow       bool
	RemoteCMTimeout    uint8 // 5 bits: 4.096 us * 2^n, in which the receiver answers
	LocalCMTimeout     uint8 // 5 bits: in which the sender does
	RetryCount         uint8 // 3 bits
	RNRRetryCount      uint8 // 3 bits; 7 is for ever
	MaxCMRetries       uint8 // 4 bits
	PKey               uint16
	MTU                uint8 // 4 bits, of ibv_mtu: 1 is 256 bytes, 5 is 4096
	RDCExists          bool
	SRQ                bool
	Primary            Path
	Alternate          Path // zero if there is none
	PrivateData        [92]byte
}

// Attr gives AttrREQ.
func (*REQ) Attr() AttributeID { return AttrREQ }

// Append appends the 232 bytes of the message.
func (r *REQ) Append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, r.LocalCommID)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint64(b, r.ServiceID)
	b = append(b, r.LocalCAGUID[:]...)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint32(b, r.LocalQKey)
	b = be.AppendUint32(b, r.LocalQPN<<8|uint32(r.ResponderResources))
	b = be.AppendUint32(b, r.LocalEECN<<8|uint32(r.InitiatorDepth))
	b = be.AppendUint32(b, r.RemoteEECN<<8|uint32(r.RemoteCMTimeout&31<<3|uint8(r.ServiceType)&3<<1|bit(r.EndToEndFlow, 0)))
	b = be.AppendUint32(b, r.StartingPSN<<8|uint32(r.LocalCMTimeout&31<<3|r.RetryCount&7))
	b = be.AppendUint16(b, r.PKey)
	b = append(b, r.MTU&15<<4|bit(r.RDCExists, 3)|r.RNRRetryCount&7)
	b = append(b, r.MaxCMRetries&15<<4|bit(r.SRQ, 3)|r.ExtendedType&7)
	b = r.Primary.append(b)
	b = r.Alternate.append(b)
	return append(b, r.PrivateData[:]...)
}

// Parse decodes a message of exactly 232 bytes. The error is a *PacketError.
func (r *REQ) Parse(p []byte) error {
	if err := checkLen("REQ length", p, madDataLen); err != nil {
		return err
	}
	be := binary.BigEndian
	*r = REQ{
		LocalCommID: be.Uint32(p), ServiceID: be.Uint64(p[8:]), LocalCAGUID: [8]byte(p[16:]), LocalQKey: be.Uint32(p[28:]),
		LocalQPN: be.Uint32(p[32:]) >> 8, ResponderResources: p[35],
		LocalEECN: be.Uint32(p[36:]) >> 8, InitiatorDepth: p[39],
		RemoteEECN: be.Uint32(p[40:]) >> 8, RemoteCMTimeout: p[43] >> 3, ServiceType: ServiceType(p[43] >> 1 & 3), EndToEndFlow: p[43]&1 != 0,
		StartingPSN: be.Uint32(p[44:]) >> 8, LocalCMTimeout: p[47] >> 3, RetryCount: p[47] & 7,
		PKey: be.Uint16(p[48:]), MTU: p[50] >> 4, RDCExists: p[50]&8 != 0, RNRRetryCount: p[50] & 7,
		MaxCMRetries: p[51] >> 4, SRQ: p[51]&8 != 0, ExtendedType: p[51] & 7,
		PrivateData: [92]byte(p[52+2*pathLen:]),
	}
	r.Primary.parse(p[52:])
	r.Alternate.parse(p[52+pathLen:])
	return nil
}

func (a *Path) append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint16(b, a.LocalLID)
	b = be.AppendUint16(b, a.RemoteLID)
	b = append(b, a.LocalGID[:]...)
	b = append(b, a.RemoteGID[:]...)
	b = be.AppendUint32(b, a.FlowLabel<<12|uint32(a.Rate&63))
	return append(b, a.TrafficClass, a.HopLimit, a.SL&15<<4|bit(a.SubnetLocal, 3), a.AckTimeout&31<<3)
}

func (a *Path) parse(p []byte) {
	be := binary.BigEndian
	*a = Path{
		LocalLID: be.Uint16(p), RemoteLID: be.Uint16(p[2:]), LocalGID: GID(p[4:20]), RemoteGID: GID(p[20:36]),
		FlowLabel: be.Uint32(p[36:]) >> 12, Rate: p[39] & 63, TrafficClass: p[40], HopLimit: p[41],
		SL: p[42] >> 4, SubnetLocal: p[42]&8 != 0, AckTimeout: p[43] >> 3,
	}
}
