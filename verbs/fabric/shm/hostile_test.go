package shm

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/ring"
)

func sysBlocks(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks }

// A log is a Receiver that keeps what it is told.
type log struct {
	packets int
	downs   []error
}

func (l *log) Packet(uint32, *fabric.Header, []byte) bool { l.packets++; return true }
func (l *log) Knock(int)                                  {}
func (l *log) Down(_ uint32, err error)                   { l.downs = append(l.downs, err) }

// joined returns two ports of this process whose endpoints 0 are joined.
func joined(t *testing.T, o Options) (p [2]*Port, c [2]fabric.Conn) {
	t.Helper()
	for i := range p {
		var err error
		if p[i], err = Open(o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p[i].Close() })
		if c[i], err = p[i].Open(0, uint32(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range p {
		if err := c[i].Connect(p[1-i].Addr(), 0); err != nil {
			t.Fatal(err)
		}
	}
	return p, c
}

// word returns the word of the first slot of the ring of endpoint 0.
func (p *Port) word() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(p.seg.base, p.seg.ringOff(0)+ring.ControlLen)), 8)
}

// A word that no sender writes takes the Conn down, and the peer hears of it.
func TestCorruptWord(t *testing.T) {
	for name, word := range map[string]uint64{
		"wrong tag":    77<<32 | 1,
		"too long":     1<<32 | 5000,
		"outside bulk": 1<<32 | 1<<31 | 16<<10 | 1<<30,
	} {
		for _, others := range []int{0, 40} {
			t.Run(name, func(t *testing.T) {
				p, c := joined(t, Options{})
				for i := range others {
					if _, err := p[1].Open(i+1, 9); err != nil {
						t.Fatal(err)
					}
				}
				binary.NativeEndian.PutUint64(p[1].word(), word)
				var l log
				for range 10000 {
					p[1].Poll(&l, 10)
				}
				if len(l.downs) != 1 || !errors.Is(l.downs[0], fabric.ErrPeerDied) || !strings.Contains(l.downs[0].Error(), "word") {
					t.Fatalf("downs %v", l.downs)
				}
				if l.packets != 0 || c[1].Send(&fabric.Header{}, nil, nil) {
					t.Fatal("the Conn is not down")
				}
				var peer log
				p[0].Poll(&peer, 10)
				if len(peer.downs) != 1 || !errors.Is(peer.downs[0], fabric.ErrPeerClosed) {
					t.Fatalf("the peer's downs %v", peer.downs)
				}
			})
		}
	}
}

// A peer that scribbles over all that it has mapped makes nothing panic, hang or leave its memory.
func TestScribble(t *testing.T) {
	for seed := range uint64(40) {
		p, c := joined(t, Options{Regions: 256, Endpoints: 70, Memory: 4 << 20})
		var plain [4096]byte
		device, err := p[0].AllocMem(4096)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range [][]byte{plain[:], device} {
			if err := p[0].Publish(fabric.Region{Key: uint32(i+1) << 8, Base: uint64(uintptr(unsafe.Pointer(&b[0]))), Len: 4096, Buf: b}); err != nil {
				t.Fatal(err)
			}
		}
		rnd := rand.New(rand.NewPCG(seed, 0))
		scribble(rnd, p[0])
		l := log{}
		d := c[1].Direct()
		for i := range 200 {
			p[0].Poll(&l, 20)
			c[0].Send(&fabric.Header{}, plain[:i], nil)
			c[1].Send(&fabric.Header{}, plain[:i], nil)
			c[1].Acked()
			c[1].PeerGrant()
			if r, ok := d.Enter(uint32(i%3) << 8); ok {
				_ = d.ReadAt(&r, plain[:100], r.Base)
				_ = d.ReadAt(&r, plain[:100], r.Base+r.Len-100)
				_, _ = d.FetchAdd(&r, r.Base, 1)
				d.Leave()
			}
			if i%20 == 0 {
				scribble(rnd, p[0])
			}
		}
		_ = p[0].Withdraw(0x100)
		for i := range p {
			_ = c[i].Close()
			_ = p[i].Close()
		}
	}
}

// scribble writes to the control page, the table and the first rings, all that Go memory does
// not back.
func scribble(rnd *rand.Rand, p *Port) {
	end := p.seg.ringOff(3)
	mem := unsafe.Slice((*byte)(p.seg.base), end)
	for range 200 {
		at := controlOff + rnd.IntN(end-controlOff-8)
		if rnd.IntN(2) == 0 { // where it is read
			at = []int{controlOff, controlOff + 128, controlOff + 256, p.seg.tableOff() + 64, p.seg.ringOff(0), p.seg.ringOff(0) + ring.ControlLen}[rnd.IntN(6)] + 8*rnd.IntN(16)
		}
		if h := p.seg.ringOff(0) + 256; at > h-8 && at < h+8 {
			continue // a hazard that is never taken back only delays Close
		}
		val := rnd.Uint64()
		if rnd.IntN(2) == 0 {
			val >>= rnd.IntN(64)
		}
		binary.NativeEndian.PutUint64(mem[at&^7:], val)
	}
}

// Without cross-memory attach plain memory is refused and device memory is not.
func TestNoCMA(t *testing.T) {
	r := remote{noCMA: true}
	if err := r.Copy(nil, 0, make([]byte, 8), false); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("error %v", err)
	}
}

// cmaRemote is another process, asleep, as a peer.
func cmaRemote(t *testing.T) *remote {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &remote{addr: address{pid: uint32(cmd.Process.Pid)}}
}
