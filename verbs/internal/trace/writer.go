// Package trace writes the packets of package ib into pcapng files, which Wireshark, tshark and tcpdump read.
//
// A frame is what the packet would be on an Ethernet: hardware addresses that follow from the GIDs, the IPv6 header, a
// UDP header to port 4791 with its checksum, and the packet from the BTH to the ICRC.
//
// Wireshark 4.0 guesses the protocol of a payload, takes a SEND of at most 12 bytes for RPC over RDMA and an empty datagram for
// Ethernet over InfiniBand, and calls them malformed: read a trace with --disable-protocol rpcordma --disable-protocol
// infiniband.eoib. It shows the masked atomics, which are of our own, as an unknown opcode.
package trace

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"outboard/verbs/internal/ib"
)

// A Writer writes a trace of one interface. Its methods may be called by any goroutine.
type Writer struct {
	mu      sync.Mutex
	buf     *bufio.Writer // that of ng too
	ng      *pcapgo.NgWriter
	frame   gopacket.SerializeBuffer
	flushed time.Time
	err     error // the first of the underlying writer
}

const (
	// FlushPeriod is how long what was added may stay in the buffer while more is added, by the packets' times.
	FlushPeriod = 100 * time.Millisecond

	bufferSize    = 64 << 10
	blockOverhead = 32 + 3 // of a pcapng block, with its padding
)

// New begins a trace: w gets a section header and the description of the interface, whose name is that of the NIC ("emu0").
// w has these at once, and all of the packets after [Writer.Flush]; what it has got after any write is a whole file, as long as
// no packet is longer than the buffer. Whoever opened w closes it.
func New(w io.Writer, name string) (*Writer, error) {
	buf := bufio.NewWriterSize(w, bufferSize) // which pcapgo, who would make one, takes as it is
	ng, err := pcapgo.NewNgWriterInterface(buf,
		pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}, // ns
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "outboard"}})
	if err != nil {
		return nil, err
	}
	if err := buf.Flush(); err != nil {
		return nil, err
	}
	return &Writer{buf: buf, ng: ng, frame: gopacket.NewSerializeBuffer()}, nil
}

// Packet adds a packet, as [ib.Seal] completed it, that was on the wire at a time between 1970 and 2262. It does not keep pkt.
// A packet that is too short to be one is an *ib.PacketError and leaves no mark. If the underlying writer has ever
// failed, the error is that of the first failure, and nothing is written.
func (t *Writer) Packet(when time.Time, pkt []byte) error {
	if len(pkt) < ib.MinPacket {
		return &ib.PacketError{Field: "packet length", Got: uint64(len(pkt)), Want: ib.MinPacket, Err: ib.ErrShort}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	if err := t.encode(pkt); err != nil {
		return err
	}
	b := t.frame.Bytes()
	if t.buf.Available() < len(b)+blockOverhead { // or a part of the packet would be written
		if t.flush(when) != nil {
			return t.err
		}
	}
	t.err = t.ng.WritePacket(gopacket.CaptureInfo{Timestamp: when, CaptureLength: len(b), Length: len(b)}, b)
	return t.flushStale(when)
}

// encode makes the frame, from its end to its beginning.
func (t *Writer) encode(pkt []byte) error {
	if err := t.frame.Clear(); err != nil {
		return err
	}
	transport, err := t.frame.PrependBytes(len(pkt) - ib.GRHLen)
	if err != nil {
		return err
	}
	copy(transport, pkt[ib.GRHLen:])

	src, dst := ib.GID(pkt[8:24]), ib.GID(pkt[24:40])
	udp := layers.UDP{
		SrcPort: layers.UDPPort(ib.UDPSourcePort(binary.BigEndian.Uint32(pkt[44:]) & ib.PSNMask)),
		DstPort: ib.UDPPort,
	}
	if err := udp.SetNetworkLayerForChecksum(&layers.IPv6{SrcIP: src[:], DstIP: dst[:]}); err != nil {
		return err
	}
	if err := udp.SerializeTo(t.frame, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}); err != nil {
		return err
	}

	ip, err := t.frame.PrependBytes(ib.GRHLen)
	if err != nil {
		return err
	}
	copy(ip, pkt[:ib.GRHLen])

	from, to := src.HardwareAddr(), dst.HardwareAddr()
	eth := layers.Ethernet{SrcMAC: from[:], DstMAC: to[:], EthernetType: layers.EthernetTypeIPv6}
	return eth.SerializeTo(t.frame, gopacket.SerializeOptions{})
}

// Flush gives all that was added to the underlying writer. The error is that of its first failure ever.
func (t *Writer) Flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flush(t.flushed)
}

// FlushStale is Flush if the last one, or the last packet that caused one, is [FlushPeriod] ago.
func (t *Writer) FlushStale(now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flushStale(now)
}

func (t *Writer) flushStale(now time.Time) error {
	if t.err == nil && now.Sub(t.flushed) >= FlushPeriod {
		return t.flush(now)
	}
	return t.err
}

func (t *Writer) flush(now time.Time) error {
	if t.err == nil {
		t.err, t.flushed = t.ng.Flush(), now
	}
	return t.err
}
