package tagmatch_test

import (
	"fmt"

	"outboard/tagmatch"
)

// A receive that is posted first waits for its message; a message that comes first waits for its receive.
func Example() {
	m := tagmatch.New[string, string](tagmatch.Limits{})

	arrive := func(k tagmatch.Key, payload string) {
		if buffer, ok := m.Match(k); ok {
			fmt.Printf("%s into %s\n", payload, buffer)
			return
		}
		if _, err := m.Unexpected(k, payload); err != nil {
			fmt.Println(err)
		}
	}
	receive := func(k tagmatch.Key, buffer string) {
		_, payload, matched, err := m.Post(k, buffer)
		switch {
		case err != nil:
			fmt.Println(err)
		case matched:
			fmt.Printf("%s into %s\n", payload, buffer)
		}
	}

	receive(tagmatch.Key{Source: tagmatch.AnySource, Tag: 7}, "a")
	receive(tagmatch.Key{Source: 1, Tag: 7}, "b")
	arrive(tagmatch.Key{Source: 1, Tag: 7}, "first")
	arrive(tagmatch.Key{Source: 1, Tag: 7}, "second")
	arrive(tagmatch.Key{Source: 1, Tag: 7}, "third")
	receive(tagmatch.Key{Source: 1, Tag: tagmatch.AnyTag}, "c")
	receive(tagmatch.Key{Source: -5}, "d")
	// Output:
	// first into a
	// second into b
	// third into c
	// tagmatch: key out of range: source is -5, want 0 or more, or -1 for any
}

// A matched probe takes a message out of the reach of other receives before the caller knows where to put it.
func ExampleMatcher_Probe() {
	var m tagmatch.Matcher[string, []byte] = tagmatch.New[string, []byte](tagmatch.Limits{})
	if _, err := m.Unexpected(tagmatch.Key{Source: 3, Tag: 1}, []byte("payload")); err != nil {
		fmt.Println(err)
	}

	found, ok, err := m.Probe(tagmatch.Key{Source: tagmatch.AnySource, Tag: tagmatch.AnyTag})
	fmt.Println(found.Key, len(found.Value), ok, err)

	msg, ok := m.Extract(found.Handle)
	fmt.Printf("%s %v\n", msg, ok)
	// Output:
	// ctx=0 src=3 tag=1 7 true <nil>
	// payload true
}
