package nicrt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// workerRig is a machine with workers and the thread that polls them.
type workerRig struct {
	*testing.T
	machine *machine
	port    *testPort
	workers *hpuWorkers
	bell    chan struct{}
}

// newWorkerRig also checks that no goroutine is left at the test's end.
func newWorkerRig(t *testing.T, c machineConfig) *workerRig {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	m, port := newTestMachine(c)
	r := &workerRig{T: t, machine: m, port: port, bell: make(chan struct{}, 1)}
	r.workers = newHPUWorkers(m, func() {
		select {
		case r.bell <- struct{}{}:
		default:
		}
	})
	t.Cleanup(m.shutdown)
	return r
}

// until polls until f holds, sleeping as a NIC does.
func (r *workerRig) until(what string, f func() bool) {
	r.Helper()
	limit := time.Now().Add(20 * time.Second)
	for !f() {
		if r.workers.poll()+r.machine.kick() > 0 {
			continue
		}
		sleep := 10 * time.Millisecond
		if d, ok := r.workers.untilDeadline(); ok {
			sleep = min(sleep, d)
		}
		select {
		case <-r.bell:
		case <-time.After(sleep):
		}
		if time.Now().After(limit) {
			r.Fatalf("never: %s", what)
		}
	}
}

// deliver puts packets in, polling while there is no room.
func (r *workerRig) deliver(list []packet) {
	r.Helper()
	for i := range list {
		r.until("room", func() bool { return r.machine.deliver(&list[i]) })
	}
}

func TestWorkersReduce(t *testing.T) {
	r := newWorkerRig(t, machineConfig{})
	host := &hostWindow{bytes: make([]byte, 8), canWrite: true}
	var inOrder atomic.Bool
	inOrder.Store(true)
	// Memory: the sum, then for each slot the packets whose handlers returned.
	in := mustInstall(t, r.machine, 1, Program{Memory: 8 + 8*MaxMessages, Scratch: 8,
		Header: func(tk *Task) Verdict {
			before := tk.FetchAdd(8+8*tk.Slot(), 0)
			tk.FetchAdd(8+8*tk.Slot(), -before)
			return Process
		},
		Payload: func(tk *Task) Verdict {
			sum := uint64(0)
			for _, b := range tk.Payload() {
				sum += uint64(b)
			}
			tk.FetchAdd(0, sum)
			s := tk.Scratch()
			binary.LittleEndian.PutUint64(s, binary.LittleEndian.Uint64(s)+sum)
			tk.FetchAdd(8+8*tk.Slot(), 1)
			tk.AddReduced(len(tk.Payload()))
			return Process
		},
		Completion: func(tk *Task) {
			if tk.FetchAdd(8+8*tk.Slot(), 0) != tk.Header().Tag {
				inOrder.Store(false)
			}
			var word [8]byte
			binary.LittleEndian.PutUint64(word[:], tk.FetchAdd(0, 0))
			tk.WriteHost(host, 0, word[:])
			tk.Notify(tk.Message())
		}})
	const messages, packets, size = 100, 8, 100
	want := uint64(0)
	payload := make([]byte, packets*size)
	for i := range payload {
		payload[i] = byte(i)
		want += uint64(byte(i))
	}
	want *= messages
	for msg := range uint64(messages) {
		list := message(1, int32(msg%3), msg, string(payload), packets)
		list[0].hdr.Tag = packets
		r.deliver(list)
	}
	r.until("all messages", func() bool { return in.Events().Len() == messages })
	r.until("idle", func() bool { return in.running == 0 })
	if got := binary.LittleEndian.Uint64(in.memory); got != want {
		t.Errorf("sum in memory %d, want %d", got, want)
	}
	got := uint64(0)
	for hpu := range r.machine.hpus {
		got += binary.LittleEndian.Uint64(in.scratch[hpu*in.stride:])
	}
	if got != want {
		t.Errorf("sum in scratchpads %d, want %d", got, want)
	}
	if got := binary.LittleEndian.Uint64(host.bytes); got == 0 || got > want {
		t.Errorf("host has %d, want at most %d", got, want)
	}
	if !inOrder.Load() {
		t.Error("a completion handler ran before the payload handlers were through")
	}
	if a := in.Account(); a.BytesReduced != messages*packets*size || a.BytesToHost != 8*messages || a.HandlerTime == 0 {
		t.Errorf("account %+v", a)
	}
	checkIdle(t, r.machine)
}

func TestWorkersCommandsWait(t *testing.T) {
	r := newWorkerRig(t, machineConfig{})
	r.port.room = 0
	var sent atomic.Int32
	in := mustInstall(t, r.machine, 1, Program{Budget: 50 * time.Millisecond, Memory: 64, Header: func(tk *Task) Verdict {
		for i := range uint64(7) {
			if err := tk.Send(1, Header{Program: 9, Tag: i}, tk.Payload()); err != nil {
				return Fail
			}
			sent.Add(1)
		}
		tk.Wait()
		sent.Add(100)
		return Process
	}})
	r.deliver(message(1, 0, 1, "text", 1))
	r.until("four sends", func() bool {
		return sent.Load() == CommandsInFlight && len(r.machine.stalled.sends) == CommandsInFlight
	})
	start := time.Now()
	r.until("some budgets", func() bool { return time.Since(start) > 200*time.Millisecond })
	if n := sent.Load(); n != CommandsInFlight || in.Err() != nil {
		t.Fatalf("%d sends under way, error %v; want %d and none: the wire's time is not the handler's", n, in.Err(), CommandsInFlight)
	}
	r.port.room = 1
	r.until("the fifth", func() bool { return sent.Load() == CommandsInFlight+1 })
	r.port.room = -1
	r.until("all", func() bool { return in.running == 0 })
	if sent.Load() != 107 || len(r.port.sent) != 7 {
		t.Errorf("%d after Wait, %d sent", sent.Load(), len(r.port.sent))
	}
	for i, s := range r.port.sent {
		if s.hdr.Tag != uint64(i) || s.payload != "text" {
			t.Errorf("message %d is %v", i, s)
		}
	}
	if in.Err() != nil {
		t.Error(in.Err())
	}
}

func TestWorkersReadHost(t *testing.T) {
	r := newWorkerRig(t, machineConfig{})
	host := &hostWindow{bytes: []byte("0123456789"), canRead: true}
	var got atomic.Value
	in := mustInstall(t, r.machine, 1, Program{Memory: 64, Header: func(tk *Task) Verdict {
		own := make([]byte, 2)
		tk.ReadHost(host, 3, tk.Memory()[:4])
		tk.ReadHost(host, 8, own)
		tk.Wait()
		got.Store(string(tk.Memory()[:4]) + string(own))
		return Process
	}})
	r.deliver(message(1, 0, 1, "", 1))
	r.until("the read", func() bool { return in.running == 0 })
	if got.Load() != "345689" {
		t.Errorf("read %q, error %v", got.Load(), in.Err())
	}
}

// TestWorkersBudget holds a handler past its budget and looks at everything
// that must follow, and at what the handler can do afterwards.
func TestWorkersBudget(t *testing.T) {
	r := newWorkerRig(t, machineConfig{clusters: 1, hpus: 2, queue: 2})
	release, after := make(chan struct{}), make(chan string, 1)
	bad := mustInstall(t, r.machine, 1, Program{Name: "slow", Memory: 64, Budget: 20 * time.Millisecond, Header: func(tk *Task) Verdict {
		own := &tk.Memory()[tk.HPU()]
		<-release
		*own = 1 // its memory is not anybody else's yet
		defer func() {
			after <- fmt.Sprint(recover())
			panic("again")
		}()
		tk.Notify(1)
		return Process
	}})
	var ran atomic.Int32
	good := mustInstall(t, r.machine, 2, Program{Name: "good", Header: func(*Task) Verdict { ran.Add(1); return Process }})
	r.deliver(message(1, 4, 5, "x", 1))
	r.deliver(message(1, 4, 6, "x", 1)) // takes the second HPU too
	r.until("the overrun", func() bool { return bad.Err() != nil })
	var fault *Fault
	var budget *BudgetError
	if !errors.As(bad.Err(), &fault) || !errors.As(fault, &budget) || budget.Took < budget.Budget ||
		budget.Budget != 20*time.Millisecond || fault.Peer != 4 || fault.Handler != HeaderHandler {
		t.Errorf("error %v", bad.Err())
	}
	for msg := range uint64(10) {
		r.deliver(message(2, 0, msg, "y", 1))
	}
	r.until("the other program", func() bool { return ran.Load() == 10 })
	bad.Stop()
	if len(bad.memory) == 0 {
		t.Error("memory taken from under a running handler")
	}
	used := r.machine.account().MemoryUsed
	close(release)
	for range 2 {
		if got := <-after; got != errRevoked.Error() {
			t.Errorf("a handler cut off got %q from its task, want %q", got, errRevoked)
		}
	}
	r.until("its end", func() bool { return len(r.machine.leaving) == 0 })
	if now := r.machine.account().MemoryUsed; now != used-memoryGrain {
		t.Errorf("%d bytes of NIC memory in use after the handlers' end, %d before, want %d less", now, used, memoryGrain)
	}
	if bad.Events().Len() != 1 || good.Err() != nil {
		t.Errorf("%d events, want the stop alone; other program: %v", bad.Events().Len(), good.Err())
	}
	r.until("idle", func() bool { return good.running == 0 })
	checkIdle(t, r.machine)
}

// TestWorkersReturnWaits sees that a message lives until the commands of its
// handler, which refer to its payload, are carried out.
func TestWorkersReturnWaits(t *testing.T) {
	r := newWorkerRig(t, machineConfig{})
	r.port.room = 0
	returned := make(chan struct{})
	in := mustInstall(t, r.machine, 1, Program{Header: func(tk *Task) Verdict {
		defer close(returned)
		tk.Send(0, Header{}, tk.Payload())
		return Process
	}})
	r.deliver(message(1, 0, 1, "kept", 1))
	<-returned
	r.until("the send", func() bool { return len(r.machine.stalled.sends) == 1 })
	start := time.Now()
	r.until("some time", func() bool { return time.Since(start) > 20*time.Millisecond })
	if in.running != 1 || r.machine.packets.used == 0 {
		t.Errorf("%d handlers run, %d bytes held, while a send waits", in.running, r.machine.packets.used)
	}
	r.port.room = 1
	r.until("its end", func() bool { return in.running == 0 })
	if len(r.port.sent) != 1 || r.port.sent[0].payload != "kept" {
		t.Errorf("sent %v", r.port.sent)
	}
	checkIdle(t, r.machine)
}

// TestWorkersUnpolled leaves a handler waiting for a NIC that nobody polls.
func TestWorkersUnpolled(t *testing.T) {
	r := newWorkerRig(t, machineConfig{})
	host := &hostWindow{bytes: []byte("x"), canRead: true}
	in := mustInstall(t, r.machine, 1, Program{Budget: 30 * time.Millisecond, Memory: 8, Header: func(tk *Task) Verdict {
		tk.ReadHost(host, 0, tk.Memory()[:1])
		tk.Wait()
		return Process
	}})
	r.deliver(message(1, 0, 1, "", 1))
	<-r.bell
	time.Sleep(100 * time.Millisecond)
	r.until("its end", func() bool { return in.running == 0 })
	if in.Err() != nil || in.memory[0] != 'x' {
		t.Errorf("error %v, memory %q", in.Err(), in.memory)
	}
}

// TestWorkersBlockedWhenStopped stops a program whose handler waits for the
// NIC.
func TestWorkersBlockedWhenStopped(t *testing.T) {
	for _, wait := range []string{"fifth command", "Wait", "return"} {
		t.Run(wait, func(t *testing.T) {
			r := newWorkerRig(t, machineConfig{})
			r.port.room = 0
			in := mustInstall(t, r.machine, 1, Program{Header: func(tk *Task) Verdict {
				for range CommandsInFlight {
					tk.Send(0, Header{}, nil)
				}
				switch wait {
				case "fifth command":
					tk.Send(0, Header{}, nil)
				case "Wait":
					tk.Wait()
				}
				return Process
			}})
			r.deliver(message(1, 0, 1, "", 1))
			r.until("four sends", func() bool { return len(r.machine.stalled.sends) == CommandsInFlight })
			in.Stop()
			r.until("its end", func() bool { return len(r.machine.leaving) == 0 })
			r.port.room = -1
			if n := r.machine.kick(); n != 0 || len(r.port.sent) != 0 {
				t.Errorf("%d sends of a stopped program left", n+len(r.port.sent))
			}
			checkIdle(t, r.machine)
		})
	}
}

func TestWorkersFaults(t *testing.T) {
	withGoexit := append(faults[:len(faults):len(faults)], struct {
		name  string
		do    func(*Task) Verdict
		cause func(error) bool
		text  string
		stack bool
	}{"goroutine ended", func(*Task) Verdict { runtime.Goexit(); return Process },
		func(err error) bool { return errors.Is(err, errGoexit) }, "Goexit", false})
	for _, f := range withGoexit {
		t.Run(f.name, func(t *testing.T) {
			r := newWorkerRig(t, machineConfig{clusters: 1, hpus: 1, maxSend: 100})
			var ran atomic.Int32
			bad := mustInstall(t, r.machine, 1, Program{Memory: 64, Scratch: 8, Payload: func(tk *Task) Verdict {
				return f.do(tk)
			}})
			good := mustInstall(t, r.machine, 2, Program{Payload: func(*Task) Verdict { ran.Add(1); return Process }})
			r.deliver(message(1, 0, 1, "abc", 1))
			r.deliver(message(2, 0, 2, "abc", 3))
			r.until("the fault", func() bool { return bad.Err() != nil })
			r.until("the other program", func() bool { return ran.Load() == 3 && good.running == 0 })
			if !f.cause(bad.Err()) && f.name != "first of two causes" {
				t.Errorf("error %v", bad.Err())
			}
			bad.Stop()
			r.until("its end", func() bool { return len(r.machine.leaving) == 0 })
			checkIdle(t, r.machine)
		})
	}
}

// TestWorkersShutdown ends the machine while handlers run.
func TestWorkersShutdown(t *testing.T) {
	r := newWorkerRig(t, machineConfig{})
	release := make(chan struct{})
	started := make(chan struct{}, 3)
	mustInstall(t, r.machine, 1, Program{Header: func(*Task) Verdict {
		started <- struct{}{}
		<-release
		return Process
	}})
	for msg := range uint64(3) {
		r.deliver(message(1, 0, msg, "x", 1))
	}
	for range 3 {
		<-started
	}
	r.machine.shutdown()
	r.machine.shutdown()
	close(release)
	r.until("the handlers' end", func() bool { return len(r.machine.leaving) == 0 })
	if r.machine.memory.used != 0 {
		t.Errorf("%d bytes of NIC memory in use after the end", r.machine.memory.used)
	}
}

func BenchmarkWorkers(b *testing.B) {
	m, _ := newTestMachine(machineConfig{})
	w := newHPUWorkers(m, func() {})
	defer m.shutdown()
	in := mustInstall(b, m, 1, Program{Payload: func(*Task) Verdict { return Process }})
	list := message(1, 0, 1, string(make([]byte, 8*1024)), 8)
	b.ReportAllocs()
	b.SetBytes(8 * 1024)
	for b.Loop() {
		for i := range list {
			list[i].msg++
			for !m.deliver(&list[i]) {
				w.poll()
				runtime.Gosched()
			}
		}
	}
	for in.running > 0 {
		w.poll()
		runtime.Gosched()
	}
}
