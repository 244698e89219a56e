package verbs_test

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"outboard/verbs"
	"outboard/verbs/internal/ib"
)

// TestConversations plays each file of testdata/conversations: a queue pair of this package, the host, talks with a peer that says what
// the file has it say. A file is a list of
//
//	new [type=rc] [mtu=256] [to=rts] [sqpsn=0] [rqpsn=0] [timeout=14] [retry=7] [rnr=7] [timer=1] [reads=4] [access=15] [srq] [plain]
//	run
//
// where new makes and connects the host's queue pair and run is a list of calls, one a line or several with ; between, after which the
// NIC runs. The output repeats each line and tells what the host has sent and what has become of it. Calls of the host are
//
//	post OPCODE id=I [n=0] [from=0] [off=0] [imm=] [inv=] [add=] [cmp=] [unsignaled] [solicited] [fence]
//	recv id=I [n=1024]
//	modify STATE
//	tick DURATION                 time passes
//	dereg                         the memory that the peer uses is deregistered
//	mem                           shows what has changed there
//	counters                      shows those that are not 0
//	deaf, listen                  the peer stops to read the wire, and goes on
//
// and the peer says ACK, NAK code=, RNR timer= or an opcode without its transport, each with
//
//	[psn=0] [n=0] [from=0] [va=0] [len=n] [key=] [imm=] [inv=] [add=] [cmp=] [value=] [msn=] [ack] [se]
//	[dqp=] [pkey=] [gid=] [corrupt] [cut=] [op=]
//
// `go test -run TestConversations -rewrite` writes the outputs anew: commit them only if you know why they changed.
func TestConversations(t *testing.T) {
	datadriven.Walk(t, "testdata/conversations", func(t *testing.T, path string) {
		var c *conversation
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "new":
				c = newConversation(t, d)
				return ""
			case "run":
				var out strings.Builder
				for line := range strings.Lines(d.Input) {
					out.WriteString(c.line(t, d, strings.TrimSpace(line)))
				}
				return out.String()
			}
			d.Fatalf(t, "unknown command %q", d.Cmd)
			return ""
		})
	})
}

type conversation struct {
	*speaker
	t    *testing.T
	bufs map[uint64]region // of receives, reads and atomics
	was  []byte            // the memory as last seen
}

// words are the arguments of a call: name=value or name.
type words map[string]string

func (w words) num(name string, other int) int {
	s, ok := w[name]
	if !ok {
		return other
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		panic(fmt.Sprintf("%s=%s is no number", name, s))
	}
	return int(n)
}

func (w words) has(name string) bool { _, ok := w[name]; return ok }

func newConversation(t *testing.T, d *datadriven.TestData) *conversation {
	w := words{}
	for _, a := range d.CmdArgs {
		w[a.Key] = strings.Join(a.Vals, "")
	}
	o := speakerOptions{plain: w.has("plain"), to: verbs.RTS}
	for s := verbs.Init; s <= verbs.RTS; s++ {
		if strings.EqualFold(w["to"], s.String()) {
			o.to = s
		}
	}
	reads := uint8(w.num("reads", 4))
	o.attr = verbs.QPAttr{Access: verbs.Access(w.num("access", int(allRights))), PathMTU: w.num("mtu", 256), SQPSN: uint32(w.num("sqpsn", 0)), RQPSN: uint32(w.num("rqpsn", 0)),
		MaxRdAtomic: reads, MaxDestRdAtomic: reads, MinRNRTimer: uint8(w.num("timer", 1)), Timeout: uint8(w.num("timeout", 14)),
		RetryCnt: uint8(w.num("retry", 7)), RNRRetry: uint8(w.num("rnr", 7))}
	o.init = func(in *verbs.QPInit) {
		in.Cap = verbs.QPCap{SendWR: 400, RecvWR: 64, SendSGE: 2, RecvSGE: 2, Inline: 64}
		if w["type"] == "uc" {
			in.Type = verbs.UC
		}
	}
	c := &conversation{speaker: newSpeaker(t, o), t: t, bufs: map[uint64]region{}}
	c.was = append(c.was, c.mem.b...)
	c.said()
	return c
}

func (c *conversation) line(t *testing.T, d *datadriven.TestData, line string) string {
	var extra string
	for call := range strings.SplitSeq(line, ";") {
		f := strings.Fields(call)
		w := words{}
		for _, a := range f[1:] {
			k, v, _ := strings.Cut(a, "=")
			w[k] = v
		}
		said, err := c.call(f[0], f[1:], w)
		if err != nil {
			d.Fatalf(t, "%q: %v", line, err)
		}
		extra += said
	}
	c.run()
	if c.fault != "" {
		d.Fatalf(t, "%q: %s", line, c.fault)
	}
	return line + "\n" + extra + c.said()
}

// said tells what has happened since the last time.
func (c *conversation) said() string {
	var b strings.Builder
	for _, s := range runs(c.heard) {
		fmt.Fprintf(&b, "  host: %s\n", s)
	}
	c.heard = nil
	var wcs [512]verbs.WC
	n, err := c.host.cq.Poll(wcs[:])
	must(c.t, err)
	var done []string
	for _, wc := range wcs[:n] {
		done = append(done, c.completion(wc))
	}
	for _, s := range runs(done) {
		fmt.Fprintf(&b, "  completed: %s\n", s)
	}
	for _, e := range c.host.ctx.AsyncEvents() {
		fmt.Fprintf(&b, "  event: %v\n", e.Type)
	}
	if s := c.host.state(); s != c.state {
		fmt.Fprintf(&b, "  state: %v\n", s)
		c.state = s
	}
	return b.String()
}

// runs shortens a list that has many lines.
func runs(lines []string) []string {
	const most = 12
	if len(lines) <= most {
		return lines
	}
	short := append([]string(nil), lines[:most/2]...)
	short = append(short, fmt.Sprintf("... %d more ...", len(lines)-most))
	return append(short, lines[len(lines)-most/2:]...)
}

func (c *conversation) completion(wc verbs.WC) string {
	s := fmt.Sprintf("%d %s", wc.ID, strings.TrimPrefix(wc.Status.Error(), "verbs: "))
	if wc.Status != verbs.Success {
		return s
	}
	s += fmt.Sprintf(" %v", wc.Opcode)
	buf, ok := c.bufs[wc.ID]
	switch {
	case !ok:
	case wc.Opcode == verbs.WCRecvWriteImm:
		s += fmt.Sprintf(" %d bytes", wc.Bytes)
	case wc.Opcode == verbs.WCRecv || wc.Opcode == verbs.WCRead:
		s += " " + describe(buf.b[:wc.Bytes])
	default:
		s += fmt.Sprintf(" value=%d", binary.NativeEndian.Uint64(buf.b))
	}
	if wc.HasImm {
		s += fmt.Sprintf(" imm=%d", wc.Imm)
	}
	if wc.Flags&verbs.WithInv != 0 {
		s += " with invalidate"
	}
	return s
}

func (c *conversation) call(name string, args []string, w words) (string, error) {
	switch name {
	case "post":
		return "", c.post(args[0], w)
	case "recv":
		id := uint64(w.num("id", 0))
		c.bufs[id] = c.host.reg(c.t, make([]byte, w.num("n", 1024)), verbs.LocalWrite)
		return "", c.host.qp.PostRecv(verbs.RecvWR{ID: id, SG: []verbs.SGE{c.bufs[id].sge()}})
	case "modify":
		for s := verbs.Reset; s <= verbs.Err; s++ {
			if s.String() == args[0] {
				return "", c.host.qp.Modify(verbs.QPAttr{State: s}, verbs.AttrState)
			}
		}
	case "tick":
		d, err := time.ParseDuration(args[0])
		c.now = c.now.Add(d)
		return "", err
	case "dereg":
		return "", c.mem.Dereg()
	case "deaf", "listen":
		c.deaf = name == "deaf"
		return "", nil
	case "mem":
		return c.changes(), nil
	case "counters":
		var b strings.Builder
		v := reflect.ValueOf(c.host.ctx.HWCounters())
		for i := range v.NumField() {
			if n := v.Field(i).Uint(); n != 0 {
				fmt.Fprintf(&b, "  %s %d\n", v.Type().Field(i).Name, n)
			}
		}
		return b.String(), nil
	}
	return "", c.peer(name, w)
}

// changes shows what is not in memory as it was when last shown.
func (c *conversation) changes() string {
	c.host.sync()
	var b strings.Builder
	for i := 0; i < len(c.was); i++ {
		n, changed := 0, func(i int) bool { return i < len(c.was) && c.was[i] != c.mem.b[i] }
		for changed(i+n) || n > 0 && changed(i+n+1) { // one of two bytes can happen to be the same
			n++
		}
		if n == 0 {
			continue
		}
		from := i &^ 1
		fmt.Fprintf(&b, "  memory from %d: %s\n", from, describe(c.mem.b[from:i+n]))
		i += n
	}
	copy(c.was, c.mem.b)
	if b.Len() == 0 {
		return "  memory unchanged\n"
	}
	return b.String()
}

func (c *conversation) post(name string, w words) error {
	wr := verbs.SendWR{ID: uint64(w.num("id", 0)), Flags: verbs.Signaled, Imm: uint32(w.num("imm", 0)), InvKey: uint32(w.num("inv", 0)),
		RemoteAddr: peerBase + uint64(w.num("off", 0)), RKey: peerKey, Add: uint64(w.num("add", 0)), Swap: uint64(w.num("add", 0)), Compare: uint64(w.num("cmp", 0)),
		Mask: &verbs.AtomicMask{Compare: uint64(w.num("cmask", 0)), Swap: uint64(w.num("mask", 0)), Add: uint64(w.num("mask", 0))}}
	for wr.Opcode = 0; wr.Opcode.String() != name; wr.Opcode++ {
		if strings.HasPrefix(wr.Opcode.String(), "invalid") {
			return fmt.Errorf("no operation %s", name)
		}
	}
	for flag, bit := range map[string]verbs.SendFlags{"solicited": verbs.Solicited, "fence": verbs.Fence} {
		if w.has(flag) {
			wr.Flags |= bit
		}
	}
	if w.has("unsignaled") {
		wr.Flags &^= verbs.Signaled
	}
	n, from := w.num("n", 0), w.num("from", 0)
	switch {
	case wr.Opcode < verbs.Read || wr.Opcode == verbs.SendInv:
		wr.SG = []verbs.SGE{c.src.part(from, n/2), c.src.part(from+n/2, n-n/2)}
	case wr.Opcode == verbs.LocalInv:
	default:
		if wr.Opcode != verbs.Read {
			n = 8
		}
		mem := make([]byte, n) // not reg, which copies: it may be large, and is never touched then
		mr, err := c.host.ctx.RegMR(c.host.pd, mem, verbs.LocalWrite)
		must(c.t, err)
		c.bufs[wr.ID] = region{mr, mem}
		wr.SG = []verbs.SGE{c.bufs[wr.ID].sge()}
	}
	return c.host.qp.PostSend(wr)
}

// peer has the peer say a packet.
func (c *conversation) peer(name string, w words) error {
	h := c.header(ib.RCAck, uint32(w.num("psn", 0)))
	h.AckReq, h.Solicited, h.MSN = w.has("ack"), w.has("se"), uint32(w.num("msn", 0))
	switch name {
	case "ACK":
		h.Syndrome = ib.AckSyndrome(ib.NoCredits)
	case "NAK":
		h.Syndrome = ib.NAKSyndrome(ib.NAKCode(w.num("code", 0)))
	case "RNR":
		h.Syndrome = ib.RNRSyndrome(uint8(w.num("timer", 1)))
	default:
		op, ok := opcodeNamed(c, name)
		if !ok {
			return fmt.Errorf("no opcode %s", name)
		}
		h.Opcode, h.Syndrome = op, ib.AckSyndrome(ib.NoCredits)
	}
	n := w.num("n", 0)
	h.VA, h.RKey, h.Len = c.mem.Addr()+uint64(w.num("va", 0)), c.mem.RKey()+uint32(w.num("key", 0)), uint32(w.num("len", n))
	h.Imm, h.SwapAdd, h.Compare, h.Orig = uint32(w.num("imm", 0)), uint64(w.num("add", 0)), uint64(w.num("cmp", 0)), uint64(w.num("value", 0))
	h.SwapAddMask, h.CompareMask = uint64(w.num("mask", 0)), uint64(w.num("cmask", 0))
	h.Inv = c.mem.RKey() + uint32(w.num("inv", 0))
	h.DestQP += uint32(w.num("dqp", 0))
	h.PKey = uint16(w.num("pkey", int(h.PKey)))
	if w.has("gid") {
		h.Src = ib.GIDOf(w["gid"])
	}
	payload := make([]byte, n)
	fill(payload, w.num("from", 0), 0)
	p := append(h.Append(nil, n), payload...)
	if w.has("op") { // any byte, with the headers of another opcode
		p[ib.GRHLen] = byte(w.num("op", 0))
	}
	p = ib.Seal(p)
	if w.has("corrupt") {
		p[len(p)-ib.ICRCLen-1] ^= 1
	}
	return c.send(p[:len(p)-w.num("cut", 0)])
}

func opcodeNamed(c *conversation, name string) (ib.Opcode, bool) {
	_, in := c.host.qp.Query()
	for op := range 256 {
		if s := ib.Opcode(op).String(); s == in.Type.String()+"_"+name || s == name {
			return ib.Opcode(op), true
		}
	}
	return 0, false
}
