package tagmatch

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// An op is one call of a random program. Keys are taken as they are, valid or not.
type op struct {
	call call
	key  Key
	pick int // which of the handles given so far, for cancel and extract
}

type call byte

const (
	post call = iota
	arrive
	cancel
	probe
	extract
	removeContext
	removeSource
	calls
)

func (o op) String() string {
	return fmt.Sprintf("%s %v pick=%d", [calls]string{"post", "arrive", "cancel", "probe", "extract",
		"removeContext", "removeSource"}[o.call], o.key, o.pick)
}

// outcome is all that an op says, in a form that both matchers share.
type outcome struct {
	Value    int
	OK       bool
	Key      Key
	Label    uint64
	Err      error
	Receives []Entry[int]
	Messages []Entry[int]
}

// machine runs ops on one matcher.
type machine struct {
	Matcher[int, int]
	given []Handle
	next  int // value of the next receive or message
}

func (m *machine) do(o op) (out outcome) {
	switch o.call {
	case post:
		m.next++
		var h Handle
		h, out.Value, out.OK, out.Err = m.Post(o.key, m.next)
		out.Label = m.give(h)
	case arrive:
		m.next++
		if out.Value, out.OK = m.Match(o.key); !out.OK {
			var h Handle
			h, out.Err = m.Unexpected(o.key, m.next)
			out.Label = m.give(h)
		}
	case cancel:
		out.Value, out.OK = m.Cancel(m.pick(o.pick))
	case extract:
		out.Value, out.OK = m.Extract(m.pick(o.pick))
	case probe:
		var e Entry[int]
		e, out.OK, out.Err = m.Probe(o.key)
		out.Value, out.Key, out.Label = e.Value, e.Key, e.Handle.label
	case removeContext:
		out.Receives, out.Messages = stripped(m.RemoveContext(o.key.Ctx))
	case removeSource:
		out.Receives, out.Messages = stripped(m.RemoveSource(o.key.Ctx, o.key.Source))
	}
	return out
}

func (m *machine) give(h Handle) uint64 {
	m.given = append(m.given, h)
	return h.label
}

// pick gives the i-th handle from the last, so that small picks hit what is likely still queued.
func (m *machine) pick(i int) Handle {
	if len(m.given) == 0 {
		return Handle{}
	}
	return m.given[len(m.given)-1-i%len(m.given)]
}

func (m *machine) queued() (out outcome) {
	out.Receives, out.Messages = stripped(slices.Collect(m.Receives()), slices.Collect(m.Messages()))
	return out
}

// stripped leaves out of handles what is an engine's own business.
func stripped(lists ...[]Entry[int]) (receives, messages []Entry[int]) {
	for _, list := range lists {
		for i := range list {
			list[i].Handle.index = 0
		}
	}
	return lists[0], lists[1]
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// runBoth runs a program on an Engine and on the List. Each op must say the same on both; every so many ops they must hold
// the same and the engine must be sound.
func runBoth(t fataler, l Limits, program []op, every int) {
	t.Helper()
	engine := New[int, int](l)
	under, oracle := &machine{Matcher: engine}, &machine{Matcher: NewList[int, int](l)}
	fail := func(i int, got, want any) {
		t.Helper()
		t.Fatalf("op %d of %v\n engine: %+v\n list:   %+v", i, program[max(0, i-30):i+1], got, want)
	}
	for i, o := range program {
		if got, want := under.do(o), oracle.do(o); !reflect.DeepEqual(got, want) {
			fail(i, got, want)
		}
		gotR, gotM := under.Len()
		wantR, wantM := oracle.Len()
		if gotR != wantR || gotM != wantM {
			fail(i, [2]int{gotR, gotM}, [2]int{wantR, wantM})
		}
		if i%every != 0 && i != len(program)-1 {
			continue
		}
		if got, want := under.queued(), oracle.queued(); !reflect.DeepEqual(got, want) {
			fail(i, got, want)
		}
		if err := engine.check(); err != nil {
			fail(i, err, "sound")
		}
	}
}

// TestFewKeys runs programs whose keys are few and often open, so that queues are long and most receives compete.
func TestFewKeys(t *testing.T) {
	field := rapid.SampledFrom([]int32{-1, -1, 0, 1, 0, 1, -2})
	ops := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
		o := op{
			call: rapid.SampledFrom([]call{post, post, post, arrive, arrive, arrive, arrive, cancel, cancel, probe, extract,
				removeContext, removeSource}).Draw(t, "call"),
			key:  Key{Ctx: rapid.Uint32Range(0, 1).Draw(t, "ctx"), Source: field.Draw(t, "source"), Tag: field.Draw(t, "tag")},
			pick: rapid.IntRange(0, 20).Draw(t, "pick"),
		}
		if o.call == arrive && rapid.IntRange(0, 9).Draw(t, "valid") > 0 {
			o.key.Source, o.key.Tag = max(o.key.Source, 0), max(o.key.Tag, 0)
		}
		return o
	}), 0, 300)
	limit := rapid.SampledFrom([]int{0, 1, 3, 20})
	rapid.Check(t, func(t *rapid.T) {
		l := Limits{Receives: limit.Draw(t, "receives"), Messages: limit.Draw(t, "messages")}
		runBoth(t, l, ops.Draw(t, "ops"), 1)
	})
}

// TestManyKeys runs programs that fill the queues with thousands of different keys and drain them again, so that tables
// grow and slots move.
func TestManyKeys(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			runBoth(t, Limits{}, tidalProgram(rand.New(rand.NewPCG(seed, 0)), 12000), 500)
		})
	}
}

// tidalProgram posts more than arrives for a while, then the reverse, and so on.
func tidalProgram(rng *rand.Rand, length int) []op {
	program := make([]op, length)
	for i := range program {
		weights := [calls]int{post: 60, arrive: 15, cancel: 8, probe: 5, extract: 5}
		if i/2000%2 == 1 {
			weights[post], weights[arrive] = weights[arrive], weights[post]
		}
		program[i] = op{
			call: weighted(rng, weights),
			key:  Key{Ctx: rng.Uint32N(3), Source: rng.Int32N(8), Tag: rng.Int32N(60)},
			pick: rng.IntN(4000),
		}
		if c := program[i].call; c == post && rng.IntN(20) == 0 || c == probe {
			program[i].key = program[i].key.as(class(rng.IntN(classes)))
		}
		if rng.IntN(3000) == 0 {
			program[i].call = removeContext + call(rng.IntN(2))
		}
	}
	return program
}

func weighted(rng *rand.Rand, weights [calls]int) call {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := rng.IntN(sum)
	for c, w := range weights {
		if n -= w; n < 0 {
			return call(c)
		}
	}
	panic("unreachable: n < sum of weights")
}

// FuzzProgram reads two bytes as limits and then three bytes as an op: call, key, pick.
func FuzzProgram(f *testing.F) {
	f.Add([]byte{0, 0, byte(post), 0x11, 0, byte(arrive), 0x11, 0})
	f.Add([]byte{0, 0, byte(post), 0x00, 0, byte(post), 0x55, 0, byte(cancel), 0, 1, byte(arrive), 0x55, 0, byte(probe), 0x05, 0})
	f.Add([]byte{2, 1, byte(arrive), 0x15, 0, byte(arrive), 0x25, 0, byte(removeSource), 0x11, 0, byte(post), 0x30, 0, byte(extract), 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 || len(data) > 3000 {
			return
		}
		runBoth(t, Limits{Receives: int(data[0]), Messages: int(data[1])}, decodeProgram(data[2:]), 8)
	})
}

func decodeProgram(data []byte) (program []op) {
	for ; len(data) >= 3; data = data[3:] {
		program = append(program, op{
			call: call(data[0]) % calls,
			key:  Key{Ctx: uint32(data[0] >> 7), Source: int32(data[1]&15) - 2, Tag: int32(data[1]>>4) - 2},
			pick: int(data[2]),
		})
	}
	return program
}
