package verbs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

// beacon is a side of UD that has n receives of 100 bytes posted, whose completions it counts.
type beacon struct {
	*end
	mem region
	n   uint64
}

func newBeacon(t testing.TB, f fabricUnder, n int) *beacon {
	b := &beacon{end: udEnd(t, f)}
	b.mem = b.reg(t, make([]byte, 100), verbs.LocalWrite)
	for range n {
		b.post(t)
	}
	return b
}

func (b *beacon) post(t testing.TB) {
	t.Helper()
	must(t, b.qp.PostRecv(verbs.RecvWR{ID: b.n, SG: []verbs.SGE{b.mem.sge()}}))
	b.n++
}

// hears sends from a until something arrives, which it must within a while; it reports how many datagrams were sent.
func (b *beacon) hears(t testing.TB, a *end) (sent int) {
	t.Helper()
	dest := a.to(t, b.end)
	wcs := make([]verbs.WC, 1)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		must(t, a.qp.PostSend(verbs.SendWR{ID: 77, Flags: verbs.Signaled, UD: dest}))
		a.expect(t, 77, verbs.Success)
		sent++
		for wait := time.Now().Add(20 * time.Millisecond); time.Now().Before(wait); {
			n, err := b.cq.Poll(wcs)
			if must(t, err); n == 0 {
				continue
			}
			if wcs[0].SrcQP != a.qp.QPN() || wcs[0].Status != verbs.Success {
				t.Fatalf("receive completion %+v, want one of queue pair %#x", wcs[0], a.qp.QPN())
			}
			b.post(t)
			must(t, dest.AH.Destroy())
			return sent
		}
	}
	t.Fatal("no datagram arrives")
	return 0
}

// TestUDManySenders has all wires' worth of peers send to one queue pair, at once and for long.
func TestUDManySenders(t *testing.T) {
	const senders, each = 12, 50
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			b := newBeacon(t, f, 64)
			var as []*end
			var dests []*verbs.UDDest
			for range senders {
				a := udEnd(t, f)
				as, dests = append(as, a), append(dests, a.to(t, b.end))
			}
			got := map[uint32]int{}
			wcs := make([]verbs.WC, 64)
			collect := func() {
				n, err := b.cq.Poll(wcs)
				must(t, err)
				for _, wc := range wcs[:n] {
					got[wc.SrcQP<<8|wc.Imm>>8]++
					b.post(t)
				}
			}
			for i := range each {
				for k, a := range as {
					must(t, a.qp.PostSend(verbs.SendWR{Opcode: verbs.SendImm, Imm: uint32(k<<8 | i), Flags: verbs.Signaled, UD: dests[k]}))
					a.expect(t, 0, verbs.Success)
					collect()
				}
			}
			for end := time.Now().Add(5 * time.Second); sum(got) < senders*each && time.Now().Before(end); {
				collect()
			}
			for k, a := range as {
				if n := got[a.qp.QPN()<<8|uint32(k)]; n != each {
					t.Errorf("%d datagrams of sender %d arrived, want %d: nobody was in their way", n, k, each)
				}
			}
		})
	}
}

func sum(m map[uint32]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// TestUDMorePeersThanLanes: who comes too late is lost for a while, nothing hangs, and when others are idle there is room.
func TestUDMorePeersThanLanes(t *testing.T) {
	const lanes = 32
	t.Run("many send to one", func(t *testing.T) {
		f := plainFabrics[0]
		b := newBeacon(t, f, 60)
		var as []*end
		for range lanes {
			a := udEnd(t, f)
			if n := b.hears(t, a); n != 1 {
				t.Errorf("the %d-th peer needed %d datagrams, want 1", len(as), n)
			}
			as = append(as, a)
		}
		late := udEnd(t, f)
		for i := range uint64(20) { // no lane: lost, and soon
			must(t, late.qp.PostSend(verbs.SendWR{ID: i, Flags: verbs.Signaled, UD: late.to(t, b.end)}))
			late.expect(t, i, verbs.Success)
		}
		b.hears(t, late)
		for range 20 {
			b.hears(t, udEnd(t, f))
		}
		b.hears(t, as[5])
	})
	t.Run("one sends to many", func(t *testing.T) {
		f := plainFabrics[0]
		a := udEnd(t, f)
		var bs []*beacon
		for range 2 * lanes {
			b := newBeacon(t, f, 4)
			if n := b.hears(t, a); n != 1 {
				t.Errorf("the %d-th peer needed %d datagrams, want 1", len(bs), n)
			}
			bs = append(bs, b)
		}
		bs[1].hears(t, a)
	})
}

// TestUDComeAndGo has peers come and leave, more than there are lanes, while one stays.
func TestUDComeAndGo(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			b := newBeacon(t, f, 4)
			friend := newBeacon(t, f, 4)
			for range 100 {
				a := udEnd(t, f)
				b.hears(t, a)
				must(t, a.ctx.Close())
				friend.hears(t, b.end)
			}
		})
	}
}

// TestUDSlowReceiver fills the lane of a port that takes nothing: datagrams are lost, sends complete, and those to others go on.
func TestUDSlowReceiver(t *testing.T) {
	p := openInproc(t)
	defer p.Close()
	for i := range 32 {
		_, err := p.Open(p.Attr().Endpoints-32+i, uint32(i))
		must(t, err)
	}
	f := plainFabrics[0]
	a, b := udEnd(t, f), newBeacon(t, f, 4)
	ah, err := a.ctx.CreateAH(a.pd, verbs.AHAttr{Addr: p.Addr(), Port: 1})
	must(t, err)
	src := a.reg(t, pattern(a.maxDatagram(t), 1), 0)
	start := time.Now()
	for i := range uint64(40) {
		must(t, a.qp.PostSend(verbs.SendWR{ID: i, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, UD: &verbs.UDDest{AH: ah, QPN: 5}}))
		a.expect(t, i, verbs.Success)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("40 datagrams to a deaf port took %v", took)
	}
	b.hears(t, a)
}

// TestUDUnreachable: a port that is not there, or an address that is none.
func TestUDUnreachable(t *testing.T) {
	gone := udEnd(t, plainFabrics[0])
	must(t, gone.ctx.Close())
	a := udEnd(t, plainFabrics[0])
	b := newBeacon(t, plainFabrics[0], 2)
	for i, addr := range []string{gone.ctx.Addr(), "nonsense", "inproc:0:99"} {
		ah, err := a.ctx.CreateAH(a.pd, verbs.AHAttr{Addr: addr, Port: 1})
		must(t, err)
		id := uint64(i)
		must(t, a.qp.PostSend(verbs.SendWR{ID: id, Flags: verbs.Signaled, UD: &verbs.UDDest{AH: ah, QPN: 5}}))
		a.expect(t, id, verbs.Success)
	}
	b.hears(t, a)
}

// TestUDSmallPort: a port with few endpoints has no lanes; its datagrams are lost.
func TestUDSmallPort(t *testing.T) {
	f := fabricUnder{name: "small", open: func(t testing.TB) fabric.Port {
		p, err := testSwitch.Open(inproc.Options{Endpoints: 8})
		must(t, err)
		return p
	}}
	a, b := udPair(t, f)
	must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled, UD: a.to(t, b)}))
	a.expect(t, 1, verbs.Success)
}

// TestUDWithRuntime: a runtime that is told of knocks does not take those of datagrams.
func TestUDWithRuntime(t *testing.T) {
	f := plainFabrics[0]
	a, b := udEnd(t, f), newBeacon(t, f, 4)
	e := b.ctx.Engine()
	e.Lock()
	e.Attach(func() time.Duration { return 0 }, func(ep int) { t.Errorf("a knock at endpoint %d", ep) })
	e.Unlock()
	b.hears(t, a)
}

// childUD answers each datagram to whoever sent it, for ever.
func childUD() int {
	err := func() error {
		e, err := childEnd(shm.Options{})
		if err != nil {
			return err
		}
		ctx, pd, cq := e.ctx, e.pd, e.cq
		defer ctx.Close()
		qp, err := ctx.CreateQP(pd, verbs.QPInit{Type: verbs.UD, SendCQ: cq, RecvCQ: cq, Cap: defaultCap})
		if err != nil {
			return err
		}
		buf := make([]byte, 100)
		mr, err := ctx.RegMR(pd, buf, verbs.LocalWrite)
		if err != nil {
			return err
		}
		for i, mask := range masksOf[verbs.UD] {
			if err := qp.Modify(verbs.QPAttr{State: verbs.Init + verbs.State(i), Port: 1, QKey: testQKey}, mask); err != nil {
				return err
			}
		}
		recv := verbs.RecvWR{SG: []verbs.SGE{{Buf: buf, LKey: mr.LKey()}}}
		if err := qp.PostRecv(recv); err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(hello{Addr: ctx.Addr(), QPN: qp.QPN()}); err != nil {
			return err
		}
		for {
			var wc [1]verbs.WC
			if _, err := cq.Wait(context.Background(), wc[:]); err != nil {
				return err
			}
			ah, err := ctx.CreateAHFromWC(pd, 1, &wc[0], buf)
			if err != nil {
				return err
			}
			data := verbs.SGE{Buf: append([]byte(nil), buf[verbs.GRHLen:wc[0].Bytes]...)}
			if err := qp.PostRecv(recv); err != nil {
				return err
			}
			if err := qp.PostSend(verbs.SendWR{Flags: verbs.Inline, SG: []verbs.SGE{data}, UD: &verbs.UDDest{AH: ah, QPN: wc[0].SrcQP, QKey: testQKey}}); err != nil {
				return err
			}
			if err := ah.Destroy(); err != nil {
				return err
			}
		}
	}()
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestUDBetweenProcesses talks to processes that are killed: this side goes on, and the lanes can be used again.
func TestUDBetweenProcesses(t *testing.T) {
	a := udEnd(t, fabricUnder{open: openShm})
	room := a.reg(t, make([]byte, 100), verbs.LocalWrite)
	recv, wcs := verbs.RecvWR{SG: []verbs.SGE{room.sge()}}, make([]verbs.WC, 1)
	must(t, a.qp.PostRecv(recv))
	for round := range 40 { // more than there are lanes
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childRole+"=datagrams")
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe() // open until it is killed
		must(t, err)
		defer in.Close()
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		var child hello
		must(t, json.NewDecoder(out).Decode(&child))
		ah, err := a.ctx.CreateAH(a.pd, verbs.AHAttr{Addr: child.Addr, Port: 1})
		must(t, err)
		send := verbs.SendWR{Flags: verbs.Inline, SG: []verbs.SGE{{Buf: []byte{byte(round)}}}, UD: &verbs.UDDest{AH: ah, QPN: child.QPN, QKey: testQKey}}
		echo := func() bool {
			for wait := time.Now().Add(50 * time.Millisecond); time.Now().Before(wait); {
				n, err := a.cq.Poll(wcs)
				if must(t, err); n == 0 {
					continue
				}
				got := room.b[verbs.GRHLen]
				must(t, a.qp.PostRecv(recv))
				if got == byte(round) {
					return true
				}
			}
			return false
		}
		for tries := 1; ; tries++ { // what is on a lane when its other peer dies is lost
			if must(t, a.qp.PostSend(send)); echo() {
				break
			}
			if tries == 50 { // nothing frees entries of the send queue meanwhile
				t.Fatalf("no echo of %d datagrams to child %d", tries, round)
			}
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // by the signal
		for i := range uint64(5) {
			send.ID, send.Flags = 1000+i, verbs.Signaled|verbs.Inline
			must(t, a.qp.PostSend(send))
			for wc := a.wait(t); wc.ID != send.ID; wc = a.wait(t) { // an echo that came late
				must(t, a.qp.PostRecv(recv))
			}
		}
		must(t, ah.Destroy())
	}
	if a.state() != verbs.RTS {
		t.Errorf("queue pair in %v, want RTS", a.state())
	}
}
