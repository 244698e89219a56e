package nicrt

import (
	"encoding/binary"
	"slices"
	"testing"
)

// TestRecursiveDoubling runs the triggered Allreduce of Underwood et al. (HotI
// 2011): a buffer and a counter for each level, which the operations that clear
// the buffer and take 3 off the counter at 3 make ready for the next time. It
// is armed once and runs a thousand times, members at their own pace.
func TestRecursiveDoubling(t *testing.T) {
	const levels, members, times = 3, 8, 1000
	net := newCounterNet(members, 3)
	net.refuse = 0.2
	type member struct {
		value, result []byte
		buf           [levels][]byte
		level         [levels]Counter
		begin, over   Counter
	}
	all := make([]*member, members)
	net.receive = func(at, _ int, h Header, payload []byte) {
		m := all[at]
		addKernel(m.buf[h.Tag], payload)
		mustIncrement(t, net.units[at], m.level[h.Tag], CounterValue{Success: 1})
	}
	zero := make([]byte, 2)
	for self := range all {
		u := net.units[self]
		m := &member{value: make([]byte, 2), result: make([]byte, 2), begin: mustCounter(t, u), over: mustCounter(t, u)}
		all[self] = m
		for i := range levels {
			m.buf[i], m.level[i] = make([]byte, 2), mustCounter(t, u)
		}
		arm := func(op Triggered) {
			op.Persistent = true
			mustArm(t, u, op)
		}
		step := func(c Counter, threshold uint64, src []byte, level int) {
			arm(Triggered{Counter: c, Threshold: threshold, Kind: TriggerReduce, Dst: m.buf[level], Src: src, Kernel: addKernel, Then: m.level[level]})
			arm(Triggered{Counter: c, Threshold: threshold, Kind: TriggerSend, Peer: self ^ 1<<level, Header: Header{Tag: uint64(level)}, Payload: src})
		}
		step(m.begin, 1, m.value, 0)
		arm(Triggered{Counter: m.begin, Threshold: 1, Kind: TriggerIncrement, Target: m.begin, Value: Negative(1)})
		for i := range levels {
			c := m.level[i]
			if i+1 < levels {
				step(c, 2, m.buf[i], i+1)
			} else {
				arm(Triggered{Counter: c, Threshold: 2, Kind: TriggerReduce, Dst: m.result, Src: m.buf[i], Then: m.over})
			}
			arm(Triggered{Counter: c, Threshold: 2, Kind: TriggerReduce, Dst: m.buf[i], Src: zero, Then: c})
			arm(Triggered{Counter: c, Threshold: 3, Kind: TriggerIncrement, Target: c, Value: Negative(3)})
		}
	}
	ended := make([]Completion, members)
	at := make([]int, members) // runs begun
	value := func(self, run int) uint16 { return uint16(self*31 + run*7) }
	for left := members * times; left > 0; {
		self := net.rng.IntN(members)
		m, u := all[self], net.units[self]
		if at[self] < times && (at[self] == 0 || ended[self].Done()) {
			binary.LittleEndian.PutUint16(m.value, value(self, at[self]))
			at[self]++
			left--
			mustIncrement(t, u, m.begin, CounterValue{Success: 1})
			run := at[self]
			ended[self].Notify = func(*Completion) {
				want := uint16(0)
				for p := range members {
					want += value(p, run-1)
				}
				if got := binary.LittleEndian.Uint16(m.result); got != want {
					t.Fatalf("member %d, run %d: %d, want %d", self, run, got, want)
				}
			}
			if err := u.wait(m.over, uint64(run), &ended[self]); err != nil {
				t.Fatal(err)
			}
		}
		from, to := net.rng.IntN(members), net.rng.IntN(members)
		if link := &net.links[from][to]; len(*link) > 0 {
			p := (*link)[0]
			*link = (*link)[1:]
			net.receive(to, from, p.hdr, p.payload)
		}
		net.units[from].kick()
	}
	net.drain()
	for self, m := range all {
		u := net.units[self]
		if v, _ := u.get(m.over); v.Success != times || !ended[self].Done() {
			t.Errorf("member %d has %v results", self, v)
		}
		for i, c := range m.level {
			if v, _ := u.get(c); v.Total() != 0 {
				t.Errorf("member %d: counter of level %d is %v after the last run", self, i, v)
			}
		}
	}
}

// minsky is a machine of counters whose program is armed operations: one
// counter for each instruction, which is at 1 while it runs.
type minsky struct {
	t    *testing.T
	u    *counterUnit
	at   []Counter // instructions
	regs []Counter
}

func (m *minsky) on(c Counter, threshold uint64, target Counter, v CounterValue) {
	mustArm(m.t, m.u, Triggered{Counter: c, Threshold: threshold, Persistent: true, Kind: TriggerIncrement, Target: target, Value: v})
}

// inc is the instruction "add 1 to a register, go on at next".
func (m *minsky) inc(i, reg, next int) {
	one := CounterValue{Success: 1}
	m.on(m.at[i], 1, m.at[i], Negative(1))
	m.on(m.at[i], 1, m.regs[reg], one)
	m.on(m.at[i], 1, m.at[next], one)
}

// bias lifts a register that is being tested. No register counts so far.
const bias = 1 << 40

// dec is the instruction "take 1 from a register and go on at next; if it is 0,
// go on at zero". It lifts the register by bias, which releases what waits for
// bias, and what waits for bias+1 unless the register was 0. What is released
// at bias+1 takes back the vote for zero before it is counted. A register may
// have only one such instruction.
func (m *minsky) dec(i, reg, next, zero int) {
	one := CounterValue{Success: 1}
	r, isZero, count := m.regs[reg], mustCounter(m.t, m.u), mustCounter(m.t, m.u)
	m.on(m.at[i], 1, m.at[i], Negative(1))
	m.on(m.at[i], 1, r, CounterValue{Success: bias})
	m.on(r, bias, isZero, one)
	m.on(r, bias, count, one)
	m.on(r, bias+1, isZero, Negative(1))
	m.on(r, bias+1, r, Negative(bias+1))
	m.on(r, bias+1, m.at[next], one)
	m.on(count, 1, count, Negative(1))
	m.on(count, 1, isZero, one)
	m.on(count, 1, isZero, Negative(1))
	m.on(isZero, 2, isZero, Negative(1))
	m.on(isZero, 2, r, Negative(bias))
	m.on(isZero, 2, m.at[zero], one)
}

// TestMinskyMachine multiplies on a machine of counters: triggered operations
// can branch and loop, so that they can compute whatever can be computed.
func TestMinskyMachine(t *testing.T) {
	const a, b, product, copied = 0, 1, 2, 3
	const halt = 6
	for x := range uint64(7) {
		for y := range uint64(7) {
			m := &minsky{t: t, u: newCounterUnit(counterConfig{})}
			for range halt + 1 {
				m.at = append(m.at, mustCounter(t, m.u))
			}
			for range 4 {
				m.regs = append(m.regs, mustCounter(t, m.u))
			}
			m.dec(0, a, 1, halt)
			m.dec(1, b, 2, 4)
			m.inc(2, product, 3)
			m.inc(3, copied, 1)
			m.dec(4, copied, 5, 0)
			m.inc(5, b, 4)
			mustIncrement(t, m.u, m.regs[a], CounterValue{Success: x})
			mustIncrement(t, m.u, m.regs[b], CounterValue{Success: y})
			mustIncrement(t, m.u, m.at[0], CounterValue{Success: 1})
			for m.u.busy() {
				m.u.kick()
			}
			var got []uint64
			for _, c := range append(m.regs, m.at[halt]) {
				v, err := m.u.get(c)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, v.Total())
			}
			if want := []uint64{0, y, x * y, 0, 1}; !slices.Equal(got, want) {
				t.Fatalf("%d times %d: registers and end are %v, want %v", x, y, got, want)
			}
		}
	}
}
