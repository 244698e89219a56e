package nicrt_test

import (
	"fmt"
	"time"

	"outboard/nicrt"
	"outboard/verbs/fabric/inproc"
)

// A program on one NIC adds up what arrives, packet by packet and in parallel,
// and answers each message with its sum. The other NIC's program hands the
// answer to its host. A third one breaks, which concerns only its host.
func ExampleProgram() {
	const adder, answer, broken = 100, 101, 102
	nics, err := pair()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nics[0].Close()
	defer nics[1].Close()

	_, err = nics[1].Install(adder, nicrt.Program{
		Name:   "adder",
		Memory: 8 * nicrt.MaxMessages, // a sum for each message in flight
		Header: func(t *nicrt.Task) nicrt.Verdict {
			t.FetchAdd(8*t.Slot(), -t.FetchAdd(8*t.Slot(), 0)) // of the last message here
			return nicrt.Process
		},
		Payload: func(t *nicrt.Task) nicrt.Verdict {
			sum := uint64(0)
			for _, b := range t.Payload() {
				sum += uint64(b)
			}
			t.FetchAdd(8*t.Slot(), sum)
			return nicrt.Process
		},
		Completion: func(t *nicrt.Task) {
			t.Send(t.Peer(), nicrt.Header{Program: answer, Tag: t.FetchAdd(8*t.Slot(), 0)}, nil)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	answers, _ := nics[0].Install(answer, nicrt.Program{
		Name:     "answer",
		Resident: true,
		Header: func(t *nicrt.Task) nicrt.Verdict {
			t.Notify(t.Header().Tag)
			return nicrt.Process
		},
	})
	faulty, _ := nics[1].Install(broken, nicrt.Program{
		Name:   "broken",
		Memory: 16,
		Header: func(t *nicrt.Task) nicrt.Verdict {
			t.FetchAdd(int(t.Header().Tag), 1)
			return nicrt.Process
		},
	})

	nics[0].Lock()
	nics[0].Send(1, &nicrt.Header{Program: broken, Tag: 16}, nil)
	nics[0].Send(1, &nicrt.Header{Program: adder}, []byte{1, 2, 3, 4})
	nics[0].Unlock()

	e := next(nics, answers)
	fmt.Println("sum:", e.Value)
	e = next(nics, faulty)
	fmt.Println(e.Kind, "by", e.Fault.Handler, "handler:", e.Fault.Cause)
	// Output:
	// sum: 10
	// stopped by header handler: panic: FetchAdd of 16, want a multiple of 8 within 16 bytes of memory
}

// pair opens two NICs that reach each other.
func pair() (nics [2]*nicrt.NIC, err error) {
	sw := inproc.New()
	for i := range nics {
		port, err := sw.Open(inproc.Options{Reserved: len(nics)})
		if err != nil {
			return nics, err
		}
		if nics[i], err = nicrt.Open(nicrt.Config{Port: port, Self: i, Peers: len(nics)}); err != nil {
			return nics, err
		}
	}
	for i, n := range nics {
		n.SetPeer(1-i, nics[1-i].Addr())
	}
	return nics, nil
}

// next runs both NICs until the program has an event for its host.
func next(nics [2]*nicrt.NIC, in *nicrt.Installed) nicrt.Event {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if e, ok := in.Events().Poll(); ok {
			return e
		}
		for _, n := range nics {
			n.Lock()
			n.Poll()
			n.Unlock()
		}
	}
	return nicrt.Event{Fault: &nicrt.Fault{Cause: fmt.Errorf("no event of %q in 10 s", in.Name())}}
}
