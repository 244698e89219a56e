package tagmatch

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"weak"
)

// both runs a test on an Engine and on a List.
func both(t *testing.T, l Limits, body func(t *testing.T, m Matcher[int, int])) {
	t.Run("engine", func(t *testing.T) { body(t, New[int, int](l)) })
	t.Run("list", func(t *testing.T) { body(t, NewList[int, int](l)) })
}

func mustPost(t *testing.T, m Matcher[int, int], k Key, recv int) Handle {
	t.Helper()
	h, msg, matched, err := m.Post(k, recv)
	if err != nil || matched {
		t.Fatalf("Post(%v) = %d, %v, %v, want it queued", k, msg, matched, err)
	}
	return h
}

func mustQueue(t *testing.T, m Matcher[int, int], k Key, msg int) Handle {
	t.Helper()
	if recv, ok := m.Match(k); ok {
		t.Fatalf("Match(%v) = %d, want none", k, recv)
	}
	h, err := m.Unexpected(k, msg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestKeyErrors(t *testing.T) {
	const most, least = int32(1<<31 - 1), int32(-1 << 31)
	for _, c := range []struct {
		name             string
		key              Key
		receive, message string // the field at fault, or ""
	}{
		{"least", Key{}, "", ""},
		{"most", Key{Ctx: 1<<32 - 1, Source: most, Tag: most}, "", ""},
		{"any source", Key{Source: AnySource}, "", "source"},
		{"any tag", Key{Tag: AnyTag}, "", "tag"},
		{"any of both", Key{Source: AnySource, Tag: AnyTag}, "", "source"},
		{"source below", Key{Source: -2}, "source", "source"},
		{"tag below", Key{Tag: -2}, "tag", "tag"},
		{"source far below", Key{Source: least, Tag: most}, "source", "source"},
		{"tag far below", Key{Source: most, Tag: least}, "tag", "tag"},
		{"tag below, any source", Key{Source: AnySource, Tag: -3}, "tag", "source"},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, Limits{}, func(t *testing.T, m Matcher[int, int]) {
				_, err := m.Unexpected(c.key, 1)
				wantFault(t, err, c.key, c.message)
				_, _, err = m.Probe(c.key)
				wantFault(t, err, c.key, c.receive)
				_, _, matched, err := m.Post(c.key, 1)
				wantFault(t, err, c.key, c.receive)
				if want := c.message == ""; matched != want {
					t.Errorf("Post matched = %v, want %v", matched, want)
				}
			})
		})
	}
}

func wantFault(t *testing.T, err error, k Key, field string) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Errorf("%v is refused: %v", k, err)
		}
		return
	}
	value := k.Source
	if field == "tag" {
		value = k.Tag
	}
	var fault *KeyError
	if !errors.Is(err, ErrKey) || !errors.As(err, &fault) || fault.Key != k || fault.Field != field || fault.Value != value {
		t.Errorf("%v gives %v, want a *KeyError about %s", k, err, field)
	}
}

func TestFullErrors(t *testing.T) {
	both(t, Limits{Receives: 40, Messages: 20}, func(t *testing.T, m Matcher[int, int]) {
		for i := range int32(40) {
			mustPost(t, m, Key{Tag: i}, 0)
		}
		_, _, _, err := m.Post(Key{}, 0)
		wantFull(t, err, FullError{Queue: "receives", Limit: 40})
		for i := range int32(20) {
			mustQueue(t, m, Key{Tag: 100 + i}, 0)
		}
		_, err = m.Unexpected(Key{Tag: 200}, 0)
		wantFull(t, err, FullError{Queue: "messages", Limit: 20})
		if r, u := m.Len(); r != 40 || u != 20 {
			t.Errorf("Len() = %d, %d, want the limits", r, u)
		}
	})
}

func wantFull(t *testing.T, err error, want FullError) {
	t.Helper()
	var full *FullError
	if !errors.Is(err, ErrFull) || !errors.As(err, &full) || *full != want {
		t.Errorf("got %v, want %v", err, &want)
	}
}

func TestLimitsOutOfRangeMeanTheLargest(t *testing.T) {
	for _, limit := range []int{-1 << 31, -1, 0, MaxQueued} {
		if got := bounded(limit); got != MaxQueued {
			t.Errorf("bounded(%d) = %d, want %d", limit, got, MaxQueued)
		}
	}
	if got := bounded(7); got != 7 {
		t.Errorf("bounded(7) = %d", got)
	}
}

// A handle stays dead although its node is used again, many times.
func TestStaleHandles(t *testing.T) {
	both(t, Limits{}, func(t *testing.T, m Matcher[int, int]) {
		stale := mustPost(t, m, Key{}, 1)
		m.Match(Key{})
		for i := range 1000 {
			h := mustPost(t, m, Key{}, i)
			if _, ok := m.Cancel(stale); ok {
				t.Fatalf("the handle of a matched receive cancels another, %d reuses later", i)
			}
			if got, ok := m.Cancel(h); !ok || got != i {
				t.Fatalf("Cancel() = %d, %v, want %d", got, ok, i)
			}
		}
		for _, h := range []Handle{{}, {label: 1 << 60}, {label: 1, index: 1 << 30}} {
			if _, ok := m.Cancel(h); ok {
				t.Errorf("%v cancels a receive", h)
			}
			if _, ok := m.Extract(h); ok {
				t.Errorf("%v extracts a message", h)
			}
		}
	})
}

// What a loop's body removes is not yielded any more, what it adds is not yielded yet.
func TestChangesDuringIteration(t *testing.T) {
	both(t, Limits{}, func(t *testing.T, m Matcher[int, int]) {
		var receives, messages []Handle
		for i := range 6 {
			receives = append(receives, mustPost(t, m, Key{Tag: int32(i)}, i))
			messages = append(messages, mustQueue(t, m, Key{Ctx: 1, Tag: int32(i)}, i))
		}
		var seen []int
		for e := range m.Receives() {
			if e.Handle != receives[e.Value] {
				t.Errorf("receive %d is yielded under another handle", e.Value)
			}
			seen = append(seen, e.Value)
			m.Cancel(receives[(e.Value+1)%6])
			m.Cancel(e.Handle)
			mustPost(t, m, Key{Ctx: 9}, 100)
		}
		if want := []int{0, 2, 4}; !slices.Equal(seen, want) {
			t.Errorf("receives %v, want %v", seen, want)
		}
		seen = nil
		for e := range m.Messages() {
			seen = append(seen, e.Value)
			m.Extract(messages[1])
			if e.Value == 3 {
				break
			}
		}
		if want := []int{0, 2, 3}; !slices.Equal(seen, want) {
			t.Errorf("messages %v, want %v", seen, want)
		}
	})
}

// Keys that come and go leave nothing behind.
func TestEverChangingKeysNeedNoRoom(t *testing.T) {
	e := New[int, int](Limits{})
	mustQueue(t, e, Key{Ctx: 1}, 0)
	for c := range class(classes) {
		e.Probe(Key{Ctx: 2}.as(c))
	}
	for i := range int32(200_000) {
		k := Key{Source: i >> 8, Tag: i}
		mustPost(t, e, k.as(class(i%classes)), 1)
		if _, ok := e.Match(k); !ok {
			t.Fatalf("no receive for %v", k)
		}
		mustQueue(t, e, k, 1)
		if _, _, ok, _ := e.Post(k.as(class(i/4%classes)), 1); !ok {
			t.Fatalf("no message for %v", k)
		}
	}
	if err := e.check(); err != nil {
		t.Error(err)
	}
	for _, q := range append(e.arrived[:], e.posted) {
		if len(q.slots) != minSlots || len(q.links) > 2*minNodes {
			t.Errorf("%d slots, %d links, want %d and at most %d", len(q.slots), len(q.links), minSlots, 2*minNodes)
		}
	}
	if len(e.receives.nodes) != minNodes || len(e.messages.nodes) != minNodes {
		t.Errorf("%d and %d nodes, want %d", len(e.receives.nodes), len(e.messages.nodes), minNodes)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	both(t, Limits{}, func(t *testing.T, m Matcher[int, int]) {
		tag := int32(0)
		round := func() {
			for c := range class(classes) {
				tag++
				k := Key{Source: tag % 7, Tag: tag}
				m.Post(k.as(c), 1)
				m.Match(k)
				m.Unexpected(k, 1)
				m.Post(k.as(c), 1)
				h, _ := m.Unexpected(k, 1)
				m.Probe(k.as(c))
				m.Extract(h)
				h, _, _, _ = m.Post(k.as(c), 1)
				m.Cancel(h)
			}
		}
		round()
		if n := testing.AllocsPerRun(1000, round); n != 0 {
			t.Errorf("%v allocations in a round", n)
		}
	})
}

// A matcher keeps no reference to what has left it.
func TestValuesAreReleased(t *testing.T) {
	for name, m := range map[string]Matcher[*[64]byte, *[64]byte]{
		"engine": New[*[64]byte, *[64]byte](Limits{}),
		"list":   NewList[*[64]byte, *[64]byte](Limits{}),
	} {
		t.Run(name, func(t *testing.T) {
			var gone []weak.Pointer[[64]byte]
			fresh := func() *[64]byte {
				p := new([64]byte)
				gone = append(gone, weak.Make(p))
				return p
			}
			for range 3 {
				m.Post(Key{}, fresh())
				m.Match(Key{})
				m.Unexpected(Key{}, fresh())
				m.Post(Key{}, nil)
				h, _, _, _ := m.Post(Key{Tag: 1}, fresh())
				m.Cancel(h)
				m.Post(Key{Ctx: 1}, fresh())
				m.Unexpected(Key{Ctx: 1, Tag: 1}, fresh())
				m.RemoveContext(1)
			}
			runtime.GC()
			for i, p := range gone {
				if p.Value() != nil {
					t.Errorf("value %d is still held", i)
				}
			}
			runtime.KeepAlive(m)
		})
	}
}

// Regular patterns of keys, as programs have them, must not pile up in the table: the mean distance of a key from its home
// slot stays near the 0.5 that linear probing has at half load with a random hash.
func TestHashSpreadsRegularKeys(t *testing.T) {
	for _, c := range []struct {
		name string
		key  func(i int) Key
	}{
		{"tags", func(i int) Key { return Key{Tag: int32(i)} }},
		{"sources", func(i int) Key { return Key{Source: int32(i)} }},
		{"contexts", func(i int) Key { return Key{Ctx: uint32(i)} }},
		{"sources by tags", func(i int) Key { return Key{Source: int32(i % 128), Tag: int32(i / 128)} }},
		{"contexts by sources", func(i int) Key { return Key{Ctx: uint32(i % 128), Source: int32(i / 128), Tag: AnyTag} }},
		{"tags 64 Ki apart", func(i int) Key { return Key{Tag: int32(i << 16)} }},
		{"tag is source", func(i int) Key { return Key{Source: int32(i), Tag: int32(i)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const n = 1 << 14
			rng := rand.New(rand.NewPCG(1, 1))
			for range 50 {
				q := newQueues()
				q.seed = [2]uint64{rng.Uint64(), rng.Uint64()}
				for i := range n {
					q.push(c.key(i), uint32(i+1))
				}
				sum := 0
				for i, s := range q.slots {
					if s.head != 0 {
						sum += int((uint32(i) - q.home(s.key)) & q.mask)
					}
				}
				if mean := float64(sum) / n; mean > 0.6 {
					t.Errorf("seeds %#x: %.2f slots from home on average", q.seed, mean)
				}
			}
		})
	}
}
