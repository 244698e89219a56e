package unit_test

import (
	"context"
	"fmt"
	"sync"

	"outboard/nicrt"
	"outboard/tagmatch"
	"outboard/tagmatch/unit"
	"outboard/verbs/fabric/inproc"
)

// Two ranks of one process: one sends a short and a long message, the other receives the long one first.
func Example() {
	wire := inproc.New()
	var nics [2]*nicrt.NIC
	var units [2]*unit.Unit
	for i := range nics {
		port, err := wire.Open(inproc.Options{Reserved: len(nics)})
		if err != nil {
			fmt.Println(err)
			return
		}
		if nics[i], err = nicrt.Open(nicrt.Config{Port: port, Self: i, Peers: len(nics)}); err != nil {
			fmt.Println(err)
			return
		}
		defer nics[i].Close()
		if units[i], err = unit.New(nics[i], 0); err != nil {
			fmt.Println(err)
			return
		}
	}
	for _, nic := range nics {
		for i, peer := range nics {
			nic.SetPeer(i, peer.Addr())
		}
	}

	send := func(tag int32, data []byte) error {
		var op unit.Op
		nics[0].Lock()
		units[0].Send(&op, 1, tagmatch.Key{Source: 0, Tag: tag}, data)
		nics[0].Unlock()
		if err := nics[0].Wait(context.Background(), &op.Done); err != nil {
			return err
		}
		return op.Err
	}
	receive := func(source, tag int32, buf []byte) (*unit.Op, error) {
		op := new(unit.Op)
		nics[1].Lock()
		err := units[1].Recv(op, tagmatch.Key{Source: source, Tag: tag}, buf)
		nics[1].Unlock()
		if err != nil {
			return nil, err
		}
		if err := nics[1].Wait(context.Background(), &op.Done); err != nil {
			return nil, err
		}
		return op, op.Err
	}

	var ranks sync.WaitGroup
	ranks.Go(func() {
		if err := send(1, []byte("short")); err != nil {
			fmt.Println(err)
		}
		if err := send(2, make([]byte, 1<<20)); err != nil {
			fmt.Println(err)
		}
	})
	buf := make([]byte, 1<<20)
	for _, tag := range []int32{2, tagmatch.AnyTag} {
		op, err := receive(tagmatch.AnySource, tag, buf)
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Printf("%d bytes from %d with tag %d\n", op.Len, op.Source, op.Tag)
	}
	ranks.Wait()
	// Output:
	// 1048576 bytes from 0 with tag 2
	// 5 bytes from 0 with tag 1
}
