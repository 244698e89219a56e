package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"outboard/verbs"
	"outboard/verbs/cm"
)

var (
	errFull  = errors.New("table full")
	errStuck = errors.New("slot stays locked: its writer may have died")
)

// defaultPatience is how long a client waits for another that is writing a slot. A writer that dies there leaves it locked for ever: a
// table for more than teaching would put the writer's name and a time into the version, so that others can take over.
const defaultPatience = 5 * time.Second

// A client is a connection to the table. It is not for concurrent use: there is one buffer.
type client struct {
	conn  *cm.Conn
	cq    *verbs.CQ
	mr    *verbs.MR
	slot  *slot  // the slot read last
	draft *slot  // the slot to be written
	word  []byte // what an atomic brings back

	base     uint64 // of the table in the server's memory
	rkey     uint32
	slots    int
	patience time.Duration
	reads    int // that were needed so far
}

// dial connects with the server, which says in its private data where the table is.
func dial(ctx context.Context, dev *verbs.Context, address string) (*client, error) {
	memory, err := dev.AllocMem(2*slotLen + 8)
	if err != nil {
		return nil, err
	}
	c := &client{slot: (*slot)(memory), draft: (*slot)(memory[slotLen:]), word: memory[2*slotLen:], patience: defaultPatience}
	pd, err := dev.AllocPD()
	if err != nil {
		return nil, err
	}
	if c.mr, err = dev.RegMR(pd, memory, verbs.LocalWrite); err != nil {
		return nil, err
	}
	if c.cq, err = dev.CreateCQ(8, nil); err != nil {
		return nil, err
	}
	c.conn, err = connect(ctx, dev, address, cm.Params{PD: pd,
		Init: verbs.QPInit{SendCQ: c.cq, RecvCQ: c.cq, Cap: verbs.QPCap{SendWR: 4, SendSGE: 1}}})
	if err != nil {
		return nil, err
	}
	p := c.conn.PrivateData()
	c.base, c.rkey, c.slots = binary.BigEndian.Uint64(p), binary.BigEndian.Uint32(p[8:]), int(binary.BigEndian.Uint32(p[12:]))
	if c.slots < 1 {
		return nil, errors.Join(fmt.Errorf("the server at %s says that its table has no slots", address), c.conn.Close())
	}
	return c, nil
}

// connect is cm.Dial, but waits for a server that has just been started and does not listen yet.
func connect(ctx context.Context, dev *verbs.Context, address string, p cm.Params) (*cm.Conn, error) {
	const patience, pause = 2 * time.Second, 20 * time.Millisecond
	for start := time.Now(); ; time.Sleep(pause) {
		conn, err := cm.Dial(ctx, dev, address, p)
		if !errors.Is(err, cm.ErrRefused) || time.Since(start) > patience || ctx.Err() != nil {
			return conn, err
		}
	}
}

func (c *client) close() error { return c.conn.Close() }

// get looks a key up: usually with one READ, with more if other keys stand in its place or somebody is writing.
func (c *client) get(key string) (value string, found bool, err error) {
	if err := checkPair(key, ""); err != nil {
		return "", false, err
	}
	_, st, value, err := c.find(key)
	if errors.Is(err, errFull) {
		return "", false, nil // every slot has another key
	}
	return value, st == full, err
}

// put inserts a key or replaces its value.
//
// No two clients write a slot at the same time: to write it one must turn its even version into the odd one that follows,
// by COMPARE-AND-SWAP, and of those who try one succeeds. The others look again at what the slot has become: it may be their key.
// Slots never become unused again, so all clients that look for a key end at the same slot.
func (c *client) put(key, value string) error {
	if err := checkPair(key, value); err != nil {
		return err
	}
	for {
		i, _, _, err := c.find(key)
		if err != nil {
			return err
		}
		version := c.slot.version()
		won, err := c.compareSwap(i, version, version+1)
		switch {
		case err != nil:
			return err
		case !won:
			continue
		}
		c.draft.fill(version+2, key, value)
		return c.publish(i, version+2)
	}
}

// publish writes the slot and then unlocks it. Both requests are posted at once: a queue pair executes them in order. The
// version is stored by an atomic too, since IBTA does not promise that a WRITE is atomic for a COMPARE-AND-SWAP.
func (c *client) publish(i int, version uint64) error {
	at := c.base + uint64(i*slotLen)
	err := c.do(
		verbs.SendWR{Opcode: verbs.Write, SG: c.sge(c.draft[offChecksum:]), RemoteAddr: at + offChecksum, RKey: c.rkey},
		verbs.SendWR{Opcode: verbs.CompareSwap, SG: c.sge(c.word), RemoteAddr: at, RKey: c.rkey, Compare: version - 1, Swap: version})
	if was := binary.NativeEndian.Uint64(c.word); err == nil && was != version-1 {
		err = fmt.Errorf("slot %d has version %d while it is locked as %d: somebody breaks the rules", i, was, version-1)
	}
	return err
}

// find reads slots from the key's home on, up to that which has the key or the first that is unused.
func (c *client) find(key string) (i int, st state, value string, err error) {
	i = home(key, c.slots)
	for range c.slots {
		st, k, value, err := c.read(i)
		if err != nil || st == unused || k == key {
			return i, st, value, err
		}
		i = (i + 1) % c.slots
	}
	return 0, 0, "", fmt.Errorf("%w: %d slots, none for key %q", errFull, c.slots, key)
}

// read reads a slot until it is not torn.
func (c *client) read(i int) (st state, key, value string, err error) {
	for start := time.Now(); ; {
		c.reads++
		err := c.do(verbs.SendWR{Opcode: verbs.Read, SG: c.sge(c.slot[:]), RemoteAddr: c.base + uint64(i*slotLen), RKey: c.rkey})
		if err != nil {
			return 0, "", "", err
		}
		if st, key, value = c.slot.parse(); st != writing {
			return st, key, value, nil
		}
		if time.Since(start) > c.patience {
			return 0, "", "", fmt.Errorf("slot %d: %w", i, errStuck)
		}
	}
}

// compareSwap replaces the version of a slot, if it is old.
func (c *client) compareSwap(i int, old, next uint64) (won bool, err error) {
	err = c.do(verbs.SendWR{Opcode: verbs.CompareSwap, SG: c.sge(c.word), RemoteAddr: c.base + uint64(i*slotLen), RKey: c.rkey,
		Compare: old, Swap: next})
	return binary.NativeEndian.Uint64(c.word) == old, err
}

func (c *client) sge(b []byte) []verbs.SGE { return []verbs.SGE{{Buf: b, LKey: c.mr.LKey()}} }

// do posts requests and waits until the last, and with it all, are done.
func (c *client) do(wrs ...verbs.SendWR) error {
	wrs[len(wrs)-1].Flags |= verbs.Signaled
	if err := c.conn.QP().PostSend(wrs...); err != nil {
		return err
	}
	var wc [1]verbs.WC
	if _, err := c.cq.Wait(context.Background(), wc[:]); err != nil {
		return err
	}
	if wc[0].Status != verbs.Success {
		return fmt.Errorf("%w %s", wc[0].Status, wc[0].Detail)
	}
	return nil
}
