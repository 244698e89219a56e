package fabrictest

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"outboard/verbs/fabric"
)

// Options say what kind of port a test wants.
type Options struct {
	Reserved  int // endpoints that are opened by number only
	Endpoints int // 0: the fabric's default
}

// Open makes a port of the fabric under test.
type Open func(Options) (fabric.Port, error)

// A command is one thing that an agent does with its port. Which fields count
// depends on Do.
type command struct {
	Do       string
	Options  Options
	EP       int
	PeerEP   int
	Cookie   uint32
	Addr     string
	Packets  []packet
	Rule     rule
	Region   fabric.Region // Buf is taken from memory number Mem at Off
	Bar      uint32        // bits that a Mover must not find in the region, BarGrant in the grant
	BarGrant uint32
	Plain    bool
	Mem      int
	Off      int
	N        int
	Data     []byte
	At       uint64
	X, Y     uint64
	Grant    fabric.Grant
	For      time.Duration
}

// A packet is sent as the Len bytes of the payload that belongs to Seed, the first Cut of them as
// the first part.
type packet struct {
	Header fabric.Header
	Seed   uint32
	Len    int
	Cut    int
}

// A rule says when the agent stops polling and what it does with what comes.
type rule struct {
	Packets int           // stop after so many packets; 0: poll once
	Events  int           // stop after so many knocks and downs
	Budget  int           // of each Poll
	Refuse  []uint32      // cookies whose packets are refused
	Accept  bool          // open what knocks, with cookie 1000 + endpoint, within the call
	For     time.Duration // give up after this long; 0: ten seconds
}

// An event is what a Receiver was told.
type event struct {
	Kind   string // "packet", "knock", "down"
	Cookie uint32
	Header fabric.Header
	Len    int
	Sum    uint32 // CRC-32 of the payload
	EP     int
	Err    failure
}

// A result is what became of a command.
type result struct {
	N       int
	X       uint64
	OK      bool
	Text    string
	Data    []byte
	Attr    fabric.Attr
	Grant   fabric.Grant
	Region  fabric.Region
	Events  []event
	Refused int // packets that were refused
	Err     failure
}

// A failure is an error that can be sent to another process: which sentinels it is, and its text.
type failure struct {
	Kinds []int // indexes in sentinels
	Text  string
}

var sentinels = []error{
	fabric.ErrClosed, fabric.ErrInUse, fabric.ErrNoEndpoint, fabric.ErrAddress, fabric.ErrUnreachable,
	fabric.ErrNoMemory, fabric.ErrNotOurs, fabric.ErrRegion, fabric.ErrRefused, fabric.ErrFault,
	fabric.ErrPeerClosed, fabric.ErrPeerDied,
}

func failureOf(err error) (f failure) {
	if err == nil {
		return f
	}
	f.Text = err.Error()
	for i, s := range sentinels {
		if errors.Is(err, s) {
			f.Kinds = append(f.Kinds, i)
		}
	}
	return f
}

func (f failure) Error() string { return f.Text }

func (f failure) Is(target error) bool {
	return slices.Contains(f.Kinds, slices.Index(sentinels, target))
}

// noise is where payloads are cut from.
var noise = func() []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, 1<<17)
	_, _ = r.Read(b)
	return b
}()

// payload returns the bytes of a packet.
func (p packet) payload() []byte {
	off := int(p.Seed*61) % (len(noise) - p.Len)
	return noise[off : off+p.Len]
}

// arrival returns what the packet is when it arrives.
func (p packet) arrival(cookie uint32) event {
	return event{Kind: "packet", Cookie: cookie, Header: p.Header, Len: p.Len, Sum: crc32.ChecksumIEEE(p.payload())}
}

// An agent owns a port and what was opened on it.
type agent struct {
	open Open
	mu   sync.Mutex // serialises all use of the port that the interface wants serialised
	port fabric.Port
	conn map[int]fabric.Conn
	mem  [][]byte
	rule rule
	out  *result
}

// do carries out one command. It may be called by several goroutines.
func (a *agent) do(c command) (r result) {
	switch c.Do { // these may be called at any time
	case "arm":
		r.X = uint64(a.port.Arm())
		return r
	case "ring":
		a.port.Ring()
		return r
	case "sleep":
		start := time.Now()
		a.port.Sleep(fabric.Ticket(c.X), c.For)
		r.X = uint64(time.Since(start))
		return r
	case "closeport":
		r.Err = failureOf(a.port.Close())
		return r
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.doLocked(c, &r); err != nil {
		r.Err = failureOf(err)
	}
	return r
}

func (a *agent) doLocked(c command, r *result) (err error) {
	conn := a.conn[c.EP]
	switch c.Do {
	case "new":
		return a.renew(c.Options, r)
	case "open":
		var conn fabric.Conn
		if conn, err = a.port.Open(c.EP, c.Cookie); err == nil {
			r.N = conn.Endpoint()
			a.conn[r.N] = conn
		}
	case "connect":
		err = conn.Connect(c.Addr, c.PeerEP)
	case "closeconn":
		err = conn.Close()
	case "send":
		for _, p := range c.Packets {
			b := p.payload()
			if !conn.Send(&p.Header, b[:p.Cut], b[p.Cut:]) {
				break
			}
			r.N++
		}
	case "flood":
		err = a.flood(conn, c)
	case "churn":
		err = a.churn(c.Addr)
	case "pour":
		err = a.pour(conn)
	case "echo":
		echo(a.port, conn, flow{c.N, int(c.X), int(c.Y)})
	case "bounce":
		err = a.bounce(conn, c.N, c.X == 1)
	case "poll":
		a.poll(c.Rule, r)
	case "counts":
		r.X, r.N = conn.Sent(), int(conn.Acked())
	case "grant":
		conn.Grant(c.Grant)
	case "peergrant":
		r.Grant = conn.PeerGrant()
	default:
		return a.doMemory(c, conn, r)
	}
	return err
}

// renew gives the agent a new port.
func (a *agent) renew(o Options, r *result) error {
	p, err := a.open(o)
	if err != nil {
		return err
	}
	if a.port != nil {
		if err := a.port.Close(); err != nil {
			return err
		}
	}
	a.port, a.conn, a.mem = p, map[int]fabric.Conn{}, nil
	r.Text, r.Attr = p.Addr(), p.Attr()
	return nil
}

func (a *agent) doMemory(c command, conn fabric.Conn, r *result) (err error) {
	var d fabric.Direct
	if conn != nil {
		d = conn.Direct()
	}
	switch c.Do {
	case "alloc":
		var b []byte
		if c.Plain {
			b = make([]byte, c.N)
		} else if b, err = a.port.AllocMem(c.N); err != nil {
			return err
		}
		a.mem = append(a.mem, b)
		r.N = len(a.mem) - 1
		r.X = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	case "free":
		err = a.port.FreeMem(a.mem[c.Mem][c.Off : c.Off+c.N])
	case "load":
		r.Data = slices.Clone(a.mem[c.Mem][c.Off : c.Off+c.N])
	case "store":
		copy(a.mem[c.Mem][c.Off:], c.Data)
	case "publish":
		g := c.Region
		g.Buf = a.mem[c.Mem][c.Off : c.Off+c.N]
		err = a.port.Publish(g)
	case "withdraw":
		err = a.port.Withdraw(c.Region.Key)
	case "direct":
		r.OK = d != nil
	case "enter":
		r.Region, r.OK = d.Enter(c.Region.Key)
		r.Region.Buf = nil
	case "leave":
		d.Leave()
	case "readat":
		r.Data = make([]byte, c.N)
		err = d.ReadAt(&c.Region, r.Data, c.At)
	case "writeat":
		err = d.WriteAt(&c.Region, c.Data, c.At)
	case "move", "fetchaddat", "compareswapat":
		m, mover := d.(fabric.Mover)
		if !mover {
			return fmt.Errorf("%w: %T is no Mover", fabric.ErrRefused, d)
		}
		a.move(m, c, r)
	case "fetchadd":
		for range max(c.N, 1) {
			if r.X, err = d.FetchAdd(&c.Region, c.At, c.X); err != nil {
				break
			}
		}
	case "compareswap":
		r.X, err = d.CompareSwap(&c.Region, c.At, c.X, c.Y)
	default:
		err = fmt.Errorf("fabrictest: no command %q", c.Do)
	}
	return err
}

// move makes one access of a Mover. X is 1 to write Data, 0 to read N bytes.
func (a *agent) move(m fabric.Mover, c command, r *result) {
	key, terms := c.Region.Key, &fabric.Terms{Need: c.Region.Access, BarRegion: c.Bar, BarGrant: c.BarGrant}
	switch c.Do {
	case "fetchaddat":
		r.X, r.OK = m.FetchAddAt(key, terms, c.At, c.X)
	case "compareswapat":
		r.X, r.OK = m.CompareSwapAt(key, terms, c.At, c.X, c.Y)
	default:
		if c.X == 0 {
			c.Data = make([]byte, c.N)
		}
		r.OK = m.Move(key, terms, c.At, c.Data, c.X == 1)
		r.Data = c.Data
	}
}

// flood sends all packets, and waits for room where there is none: asleep if c.For is not 0.
func (a *agent) flood(conn fabric.Conn, c command) error {
	deadline := time.Now().Add(10 * time.Second)
	for _, p := range c.Packets {
		b := p.payload()
		for !conn.Send(&p.Header, b[:p.Cut], b[p.Cut:]) {
			if time.Now().After(deadline) {
				return fmt.Errorf("no room for packet %d of %d", conn.Sent(), len(c.Packets))
			}
			if c.For == 0 {
				runtime.Gosched()
				continue
			}
			ticket := a.port.Arm()
			if conn.Send(&p.Header, b[:p.Cut], b[p.Cut:]) {
				break
			}
			a.port.Sleep(ticket, c.For)
		}
	}
	return nil
}

// bounce exchanges one packet in each direction, rounds times, and sleeps whenever nothing is there.
func (a *agent) bounce(conn fabric.Conn, rounds int, serve bool) error {
	a.rule, a.out = rule{}, &result{}
	for range rounds {
		if serve && !conn.Send(&fabric.Header{}, nil, nil) {
			return errors.New("no room")
		}
		for a.port.Poll(a, 1) == 0 {
			ticket := a.port.Arm()
			if a.port.Poll(a, 1) > 0 {
				break
			}
			a.port.Sleep(ticket, 0)
		}
		if !serve && !conn.Send(&fabric.Header{}, nil, nil) {
			return errors.New("no room")
		}
	}
	return nil
}

// poll polls as the rule says.
func (a *agent) poll(rule rule, r *result) {
	if rule.Budget == 0 {
		rule.Budget = 16
	}
	if rule.For == 0 {
		rule.For = 10 * time.Second
	}
	a.rule, a.out = rule, r
	deadline := time.Now().Add(rule.For)
	for n := 0; ; n++ {
		budget := rule.Budget
		if rule.Packets > 0 {
			budget = min(budget, rule.Packets-r.N)
		}
		r.N += a.port.Poll(a, budget)
		if rule.Packets == 0 && rule.Events == 0 || time.Now().After(deadline) {
			return
		}
		if r.N >= rule.Packets && len(r.Events)-r.N >= rule.Events {
			return
		}
		if runtime.Gosched(); n%64 == 63 {
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// Packet implements fabric.Receiver.
func (a *agent) Packet(cookie uint32, h *fabric.Header, payload []byte) bool {
	if slices.Contains(a.rule.Refuse, cookie) {
		a.out.Refused++
		return false
	}
	a.out.Events = append(a.out.Events, event{
		Kind:   "packet",
		Cookie: cookie,
		Header: *h,
		Len:    len(payload),
		Sum:    crc32.ChecksumIEEE(payload),
	})
	h.Flags, h.Op = 0, 0 // it is a private copy
	return true
}

// Knock implements fabric.Receiver.
func (a *agent) Knock(ep int) {
	a.out.Events = append(a.out.Events, event{Kind: "knock", EP: ep})
	if a.rule.Accept {
		if conn, err := a.port.Open(ep, 1000+uint32(ep)); err == nil {
			a.conn[ep] = conn
		}
	}
}

// Down implements fabric.Receiver.
func (a *agent) Down(cookie uint32, err error) {
	a.out.Events = append(a.out.Events, event{Kind: "down", Cookie: cookie, Err: failureOf(err)})
}
