package fabrictest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"outboard/verbs/fabric"
)

// testMove checks that a Mover does just what is allowed, and that what it does arrives.
func testMove(e *env) {
	epA, epB := e.join()
	const size = 9 << 20
	const key, rights = 0x100, 0b1011
	mem, g := e.expose(key, size, false) // of PD key+1 and with the rights key+2
	e.b.must(command{Do: "withdraw", Region: g})
	g.Access = rights
	e.b.must(command{Do: "publish", Region: g, Mem: mem, N: size})
	grant := func(ready bool, pd, access uint32) {
		e.b.must(command{Do: "grant", EP: epB, Grant: fabric.Grant{Ready: ready, PD: pd, Access: access}})
	}
	write := func(at uint64, data []byte) command {
		return command{Do: "move", EP: epA, Region: fabric.Region{Key: key, Access: 0b10}, At: at, Data: data, X: 1}
	}
	grant(true, g.PD, rights)
	if r, err := e.a.try(write(g.Base, noise[:8])); errors.Is(err, fabric.ErrRefused) {
		e.Skip(err)
	} else if err != nil || !r.OK {
		e.Fatalf("8 bytes: %v, %v", r.OK, err)
	}
	all := bytes.Repeat(noise, size/len(noise)+1)
	for _, n := range []int{1, 7, 8, 9, 4096, 512<<10 - 1, 512 << 10, 512<<10 + 1, 1 << 20, 8 << 20, 8<<20 + 3} {
		for _, off := range []int{0, 3, size - n} {
			if !e.a.must(write(g.Base+uint64(off), all[5:5+n])).OK {
				e.Fatalf("%d bytes at %d were not written", n, off)
			}
			if got := e.b.must(command{Do: "load", Mem: mem, Off: off, N: n}).Data; !bytes.Equal(got, all[5:5+n]) {
				e.Fatalf("wrote %d bytes at %d, they are not there", n, off)
			}
			r := e.a.must(command{Do: "move", EP: epA, Region: fabric.Region{Key: key, Access: 1}, At: g.Base + uint64(off), N: n})
			if !r.OK || !bytes.Equal(r.Data, all[5:5+n]) {
				e.Fatalf("read %d bytes at %d: %v, or they are others", n, off, r.OK)
			}
		}
	}

	word := g.Base + 64
	e.a.must(write(word, make([]byte, 8)))
	for _, step := range []struct {
		c   command
		old uint64
	}{
		{command{Do: "fetchaddat", X: 5}, 0},
		{command{Do: "fetchaddat", X: math.MaxUint64}, 5},
		{command{Do: "compareswapat", X: 3, Y: 9}, 4},
		{command{Do: "compareswapat", X: 4, Y: 9}, 4},
		{command{Do: "fetchaddat", X: 1 << 63}, 9},
	} {
		step.c.EP, step.c.Region, step.c.At = epA, fabric.Region{Key: key, Access: 0b1000}, word
		if r := e.a.must(step.c); !r.OK || r.X != step.old {
			e.Fatalf("%+v: %v, old %d; want %d", step.c, r.OK, r.X, step.old)
		}
	}
	for _, do := range []string{"fetchaddat", "compareswapat"} {
		if e.a.must(command{Do: do, EP: epA, Region: fabric.Region{Key: key, Access: 0b1000}, Bar: 1, At: word}).OK {
			e.Errorf("%s with a right that is barred", do)
		}
		for _, at := range []uint64{word + 4, g.Base - 8, g.Base + size} {
			if e.a.must(command{Do: do, EP: epA, Region: fabric.Region{Key: key, Access: 0b1000}, At: at}).OK {
				e.Errorf("%s at %#x", do, at)
			}
		}
		if e.a.must(command{Do: do, EP: epA, Region: fabric.Region{Key: key, Access: 0b100}, At: word}).OK {
			e.Errorf("%s without the right", do)
		}
	}
	if got := binary.NativeEndian.Uint64(e.b.must(command{Do: "load", Mem: mem, Off: 64, N: 8}).Data); got != 1<<63+9 {
		e.Errorf("the word is %d in the end", got)
	}

	before := e.b.must(command{Do: "load", Mem: mem, N: size}).Data
	refused := func(name string, change func(*command)) {
		e.Helper()
		c := write(g.Base+8, []byte("refused!"))
		change(&c)
		if e.a.must(c).OK {
			e.Errorf("%s: moved", name)
		}
		c.X, c.N = 0, len(c.Data)
		if r := e.a.must(c); r.OK || bytes.Count(r.Data, []byte{0}) != len(r.Data) {
			e.Errorf("%s: read", name)
		}
	}
	same := func(*command) {}
	refused("another key", func(c *command) { c.Region.Key ^= 1 })
	refused("another index", func(c *command) { c.Region.Key ^= 0x100 })
	refused("key 0", func(c *command) { c.Region.Key = 0 })
	refused("an index that no table has", func(c *command) { c.Region.Key = math.MaxUint32 })
	refused("a right too many", func(c *command) { c.Region.Access = 0b110 })
	refused("a right that is barred", func(c *command) { c.Bar = 0b1000 })
	refused("a right of the grant that is barred", func(c *command) { c.BarGrant = 0b1000 })
	refused("before the region", func(c *command) { c.At = g.Base - 1 })
	refused("over its end", func(c *command) { c.At = g.Base + size - 7 })
	refused("at the end", func(c *command) { c.At = g.Base + size })
	refused("nowhere", func(c *command) { c.At = math.MaxUint64 - 3 })
	refused("nothing", func(c *command) { c.Data = nil })
	grant(false, g.PD, rights)
	refused("not ready", same)
	grant(true, g.PD+1, rights)
	refused("another PD", same)
	grant(true, g.PD, rights&^0b10)
	refused("no right of the endpoint", same)
	grant(true, g.PD, rights|0b10000)
	refused("a bit of the grant that is barred", func(c *command) { c.BarGrant = 0b10000 })
	grant(true, g.PD, rights)

	if _, ok := e.enter(epA, key); !ok {
		e.Fatal("enter: no")
	}
	refused("while a region is held", same)
	e.leave(epA)
	e.a.sendAll(epA, packet{Seed: 1, Len: 4, Header: fabric.Header{Flags: fabric.AckNow}})
	refused("with a packet under way", same)
	e.b.poll(rule{Packets: 1})
	if !e.a.must(write(g.Base, before[:8])).OK {
		e.Error("after the packet: no")
	}
	plain, h := e.expose(0x200, 64, true)
	e.b.must(command{Do: "withdraw", Region: h})
	h.PD, h.Access = g.PD, rights
	e.b.must(command{Do: "publish", Region: h, Mem: plain, N: 64})
	if ok := e.a.must(command{Do: "move", EP: epA, Region: fabric.Region{Key: 0x200, Access: 1}, At: h.Base, N: 8}).OK; ok == e.apart {
		e.Errorf("memory that is not of the device: %v", ok)
	}
	if got := e.b.must(command{Do: "load", Mem: mem, N: size}).Data; !bytes.Equal(got, before) {
		e.Error("what was refused has moved")
	}
	e.b.must(command{Do: "withdraw", Region: g})
	refused("withdrawn", same)
	e.a.closeConn(epA)
}
