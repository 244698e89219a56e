package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"outboard/verbs"
	"outboard/verbs/cm"
)

// A server owns the memory of a table and lets clients connect. After that it does nothing: its NIC serves them.
type server struct {
	pd    *verbs.PD
	cq    *verbs.CQ
	mr    *verbs.MR
	slots int
	l     *cm.Listener
}

// newServer makes a table of slots, all unused, in memory of the device, where READs and atomics are plain memory operations.
func newServer(dev *verbs.Context, address string, slots int) (*server, error) {
	if slots < 1 || slots > 1<<24 {
		return nil, fmt.Errorf("%d slots: want 1 to %d", slots, 1<<24)
	}
	table, err := dev.AllocMem(slots * slotLen)
	if err != nil {
		return nil, err
	}
	s := &server{slots: slots}
	if s.pd, err = dev.AllocPD(); err != nil {
		return nil, err
	}
	if s.cq, err = dev.CreateCQ(1, nil); err != nil { // nothing will ever complete here
		return nil, err
	}
	if s.mr, err = dev.RegMR(s.pd, table, verbs.LocalWrite|verbs.RemoteRead|verbs.RemoteWrite|verbs.RemoteAtomic); err != nil {
		return nil, err
	}
	s.l, err = cm.Listen(dev, address)
	return s, err
}

// serve connects clients until ctx is over.
func (s *server) serve(ctx context.Context) error {
	where := binary.BigEndian.AppendUint64(nil, s.mr.Addr())
	where = binary.BigEndian.AppendUint32(where, s.mr.RKey())
	where = binary.BigEndian.AppendUint32(where, uint32(s.slots))
	var conns []*cm.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close() // the clients are leaving as well
		}
	}()
	for {
		request, err := s.l.Accept(ctx)
		if ctx.Err() != nil {
			return s.l.Close()
		} else if err != nil {
			return errors.Join(err, s.l.Close())
		}
		conn, err := request.Accept(ctx, cm.Params{PD: s.pd, Init: verbs.QPInit{SendCQ: s.cq, RecvCQ: s.cq}, PrivateData: where})
		if err != nil {
			continue // a client that has gone already is its own affair
		}
		conns = append(conns, conn)
	}
}
