package nicrt_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"time"

	"outboard/nicrt"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A message of several packets goes to a program on another NIC, which puts it into host memory and tells its
// host when it is complete.
func ExampleNIC_Post() {
	nics, err := pair()
	check(err)
	defer nics[0].Close()
	defer nics[1].Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	inbox := make([]byte, 100_000)
	region, err := nics[1].Register(inbox, nicrt.HostWrite)
	check(err)
	receive, err := nics[1].Install(100, nicrt.Program{
		Name: "receive",
		Payload: func(t *nicrt.Task) nicrt.Verdict {
			t.WriteHost(region, t.Offset(), t.Payload())
			return nicrt.Process
		},
		Completion: func(t *nicrt.Task) { t.Notify(t.Total()) },
	})
	check(err)

	message := make([]byte, len(inbox))
	message[len(message)-1] = 42
	var sent nicrt.Completion
	nics[0].Lock()
	err = nics[0].Post(1, &nicrt.Header{Program: 100}, message, &sent)
	nics[0].Unlock()
	check(err)

	event, err := nics[1].NextEvent(ctx, receive)
	check(err)
	check(nics[0].WaitRun(ctx, &sent)) // the message may be used again
	check(sent.Err())
	check(region.Deregister())
	fmt.Println(event.Value, "bytes, the last one is", inbox[len(inbox)-1])
	// Output:
	// 100000 bytes, the last one is 42
}

// Two NICs add up a number: each has its part of the schedule, and no host takes part between start and end.
func ExampleGroup() {
	nics, err := pair()
	check(err)
	defer nics[0].Close()
	defer nics[1].Close()

	add := func(dst, src []byte) {
		le := binary.LittleEndian
		le.PutUint64(dst, le.Uint64(dst)+le.Uint64(src))
	}
	mine, sum := nicrt.Span{Space: nicrt.Input, Len: 8}, nicrt.Span{Space: nicrt.Output, Len: 8}
	var done [2]nicrt.Completion
	var out [2][8]byte
	for self, nic := range nics {
		plan, err := nicrt.Compile(&nicrt.Schedule{Name: "exchange", Peers: 2, Self: self, Input: 8, Output: 8, Elem: 8, Ops: []nicrt.SchedOp{
			{Kind: nicrt.Send, Peer: 1 - self, Src: mine},
			{Kind: nicrt.RecvReduce, Peer: 1 - self, Src: mine, Dst: sum},
		}})
		check(err)
		in := make([]byte, 8)
		binary.LittleEndian.PutUint64(in, uint64(20+self))
		nic.Lock()
		group, err := nic.Group(1, []int{0, 1}, self)
		check(err)
		check(group.Start(plan, in, out[self][:], add, &done[self]))
		nic.Unlock()
	}
	for self, nic := range nics {
		check(nic.WaitRun(nil, &done[self]))
		check(done[self].Err())
		fmt.Println("member", self, "has", binary.LittleEndian.Uint64(out[self][:]))
	}
	// Output:
	// member 0 has 41
	// member 1 has 41
}

// A NIC counts messages, and when three have come it answers by itself; the other one's host waits for its own counter.
func ExampleNIC_Arm() {
	nics, err := pair()
	check(err)
	defer nics[0].Close()
	defer nics[1].Close()

	var counters [2]nicrt.Counter
	for i, nic := range nics {
		_, err := nic.Install(100, nicrt.Program{Name: "count", Resident: true, Header: func(t *nicrt.Task) nicrt.Verdict {
			t.Count(uint32(t.Header().Tag), 1)
			return nicrt.Process
		}})
		check(err)
		nic.Lock()
		counters[i], err = nic.AllocCounter()
		nic.Unlock()
		check(err)
	}
	nics[1].Lock()
	check(nics[1].Arm(nicrt.Triggered{Counter: counters[1], Threshold: 3, Kind: nicrt.TriggerSend,
		Peer: 0, Header: nicrt.Header{Program: 100, Tag: uint64(counters[0])}}))
	nics[1].Unlock()

	var answered nicrt.Completion
	nics[0].Lock()
	check(nics[0].AwaitCounter(counters[0], 1, &answered))
	for range 3 {
		nics[0].Send(1, &nicrt.Header{Program: 100, Tag: uint64(counters[1])}, nil)
	}
	nics[0].Unlock()
	check(nics[0].WaitRun(nil, &answered))
	fmt.Println("answered:", answered.Err() == nil)
	// Output:
	// answered: true
}
