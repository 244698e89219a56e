package verbs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
)

const (
	opPacket = 10 // in fabric.Header.Op: an IBTA packet

	peerBase = 1 << 32 // address of the memory that a speaker pretends to have
	peerKey  = 0x700
	maxData  = 1 << 16
)

// A speaker speaks IBTA packets by hand to a queue pair of the host, whose NIC runs only when told, by a clock that stands still.
type speaker struct {
	port   fabric.Port
	conn   fabric.Conn
	host   *end
	now    time.Time
	state  verbs.State
	mem    region // of the host, for the peer
	src    region // of the host, what it sends
	gid    ib.GID
	deaf   bool     // leaves what comes on the wire
	heard  []string // what the host has said
	leaked bool     // a packet had guard in it
	fault  string   // what was wrong with a packet that the host has sent
}

// How data looks: every two bytes hold their place, so that a piece of it tells where it is from. Memory of the host has the highest
// bit set as well.
func fill(p []byte, at int, mark uint16) {
	for i := range p {
		v := uint16((at+i)/2) | mark
		if (at+i)%2 == 0 {
			v >>= 8
		}
		p[i] = byte(v)
	}
}

const memMark = 1 << 15

// describe tells which piece of data p is: data[0:256], mem[0:256], zeros or hexadecimal.
func describe(p []byte) string {
	if len(p) == 0 {
		return "empty"
	}
	if len(p) > 1 {
		v := binary.BigEndian.Uint16(p)
		want := make([]byte, len(p))
		at, name := int(v&^memMark)*2, "data"
		if v&memMark != 0 {
			name = "mem"
		}
		if fill(want, at, v&memMark); string(want) == string(p) {
			return fmt.Sprintf("%s[%d:%d]", name, at, at+len(p))
		}
	}
	if len(p) > 16 {
		if strings.Trim(string(p), "\x00") == "" {
			return fmt.Sprintf("%d zeros", len(p))
		}
		return fmt.Sprintf("%d bytes %x...", len(p), p[:16])
	}
	return fmt.Sprintf("%x", p)
}

// speakerOptions say how the host's queue pair is.
type speakerOptions struct {
	attr  verbs.QPAttr // what is not zero replaces the default
	init  func(*verbs.QPInit)
	to    verbs.State
	plain bool // the host's device is not told to use packets
}

func newSpeaker(t testing.TB, o speakerOptions) *speaker {
	t.Helper()
	f := fabricUnder{name: "inproc", open: openInproc, opts: verbs.Options{Packets: !o.plain}}
	s := &speaker{port: openInproc(t), now: time.Unix(1e9, 0)}
	t.Cleanup(func() { s.port.Close() })
	ctx := f.context(t)
	ctx.Manual(func() time.Time { return s.now })
	s.host = newEndOn(t, f, ctx, o.init)
	var err error
	s.conn, err = s.port.Open(fabric.Any, 0)
	must(t, err)
	s.gid = ib.LinkLocal(s.port.Addr())
	a := o.attr
	a.Port, a.AV, a.DestQPN = 1, s.port.Addr(), verbs.QPNOf(s.conn.Endpoint())
	s.host.bringAny(t, a, o.to)
	must(t, s.conn.Connect(ctx.Addr(), int(s.host.qp.QPN()-verbs.QPNOf(0))))
	s.conn.Grant(fabric.Grant{Ready: true, Access: uint32(allRights) | grantPackets})
	mem, src := make([]byte, 4096), make([]byte, maxData)
	fill(mem, 0, memMark)
	fill(src, 0, 0)
	s.mem, s.src = s.host.reg(t, mem, allRights), s.host.reg(t, src, 0)
	s.state = s.host.state()
	return s
}

// bringAny is bring for every type of queue pair.
func (e *end) bringAny(t testing.TB, a verbs.QPAttr, to verbs.State) {
	t.Helper()
	_, in := e.qp.Query()
	masks := map[verbs.QPType][3]verbs.AttrMask{
		verbs.RC: {maskInit, maskRTR, maskRTS},
		verbs.UC: {maskInit, maskRTR &^ (verbs.AttrMaxDestRdAtomic | verbs.AttrMinRNRTimer), verbs.AttrState | verbs.AttrSQPSN},
		verbs.UD: {maskInit&^verbs.AttrAccess | verbs.AttrQKey, verbs.AttrState, verbs.AttrState | verbs.AttrSQPSN},
	}[in.Type]
	for i, mask := range masks {
		if a.State = verbs.Init + verbs.State(i); a.State <= to {
			must(t, e.qp.Modify(a, mask))
		}
	}
}

// header is that of a packet of the peer, as far as all are the same.
func (s *speaker) header(op ib.Opcode, psn uint32) ib.Header {
	return ib.Header{Src: s.gid, Dst: ib.LinkLocal(s.host.ctx.Addr()), HopLimit: 64, Opcode: op, MigReq: true, PKey: 0xffff, DestQP: s.host.qp.QPN(), PSN: psn}
}

// say sends a packet to the host, which does not look at it yet.
func (s *speaker) say(h ib.Header, payload []byte) error {
	return s.send(ib.Seal(append(h.Append(nil, len(payload)), payload...)))
}

func (s *speaker) send(p []byte) error {
	if !s.conn.Send(&fabric.Header{Op: opPacket}, p, nil) {
		return fmt.Errorf("no room on the wire")
	}
	return nil
}

// run runs the host's NIC until it has nothing to say any more.
func (s *speaker) run() {
	e := s.host.ctx.Engine()
	for quiet := 0; quiet < 2; quiet++ {
		e.Lock()
		n := e.Poll()
		e.Unlock()
		if !s.deaf {
			n += s.port.Poll((*ear)(s), 1000)
		}
		if n > 0 {
			quiet = -1
		}
	}
}

// An ear takes what the host sends.
type ear speaker

func (*ear) Knock(int)          {}
func (*ear) Down(uint32, error) {}

func (s *ear) Packet(_ uint32, f *fabric.Header, p []byte) bool {
	var h ib.Header
	payload, err := h.Parse(p)
	switch {
	case f.Op != opPacket || err != nil:
		s.fault = fmt.Sprintf("fabric opcode %d, packet %x: %v", f.Op, p, err)
	case h.Src != ib.LinkLocal(s.host.ctx.Addr()) || h.Dst != s.gid || h.DestQP != verbs.QPNOf(s.conn.Endpoint()) || h.PKey != 0xffff || !h.MigReq || h.HopLimit != 64:
		s.fault = fmt.Sprintf("path of a packet: %+v", h)
	}
	s.leaked = s.leaked || bytes.Contains(p, guard[:8])
	s.heard = append(s.heard, spell(&h, payload))
	return true
}

// spell writes a packet of the host.
func spell(h *ib.Header, payload []byte) string {
	op := h.Opcode
	kind, value := ib.DecodeSyndrome(h.Syndrome)
	var b strings.Builder
	switch _, name, _ := strings.Cut(op.String(), "_"); {
	case op == ib.RCAck && kind == ib.SyndromeACK:
		b.WriteString("ACK")
	case op == ib.RCAck && kind == ib.SyndromeRNR:
		fmt.Fprintf(&b, "RNR NAK timer=%d", value)
	case op == ib.RCAck:
		fmt.Fprintf(&b, "NAK (%v)", ib.NAKCode(value))
	default:
		b.WriteString(name)
	}
	fmt.Fprintf(&b, " psn=%d", h.PSN)
	if op.HasAETH() {
		fmt.Fprintf(&b, " msn=%d", h.MSN)
	}
	if op.HasRETH() || op.IsAtomic() {
		fmt.Fprintf(&b, " va=%d", h.VA-peerBase)
		if h.RKey != peerKey {
			fmt.Fprintf(&b, " key=%#x", h.RKey)
		}
	}
	switch {
	case op.HasRETH():
		fmt.Fprintf(&b, " len=%d", h.Len)
	case op == ib.RCAtomicAck:
		fmt.Fprintf(&b, " value=%d", h.Orig)
	case op.IsAtomic():
		fmt.Fprintf(&b, " add=%d cmp=%d", h.SwapAdd, h.Compare)
		if op.IsMasked() {
			fmt.Fprintf(&b, " masks=%#x,%#x", h.SwapAddMask, h.CompareMask)
		}
	}
	if op.HasPayload() {
		b.WriteString(" " + describe(payload))
	}
	if op.HasImm() {
		fmt.Fprintf(&b, " imm=%d", h.Imm)
	}
	if op.HasInv() {
		fmt.Fprintf(&b, " inv=%#x", h.Inv)
	}
	if h.AckReq {
		b.WriteString(" ackreq")
	}
	if h.Solicited {
		b.WriteString(" solicited")
	}
	return b.String()
}
