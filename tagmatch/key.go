package tagmatch

import "fmt"

// AnySource and AnyTag are the wildcards of a receive's or probe's key. Messages have none.
const (
	AnySource = int32(-1)
	AnyTag    = int32(-1)
)

// Key is what matching looks at.
type Key struct {
	Ctx    uint32 // communicator's context; never a wildcard
	Source int32  // sender's rank in the communicator, >= 0, or AnySource
	Tag    int32  // >= 0, or AnyTag
}

// String writes the key with * for wildcards.
func (k Key) String() string {
	return fmt.Sprintf("ctx=%d src=%s tag=%s", k.Ctx, orStar(k.Source), orStar(k.Tag))
}

func orStar(v int32) string {
	if v == -1 {
		return "*"
	}
	return fmt.Sprint(v)
}

// accepts says whether a receive with key k may take a message with key m.
func (k Key) accepts(m Key) bool {
	return k.Ctx == m.Ctx &&
		(k.Source == m.Source || k.Source == AnySource) &&
		(k.Tag == m.Tag || k.Tag == AnyTag)
}

// A class is a set of wildcards; the four classes are the four shapes of a receive's key.
type class uint

const (
	exact   class = 0
	anyTag  class = 1
	anySrc  class = 2
	classes       = 4
)

// class gives the class of a valid key.
func (k Key) class() class {
	return class(uint32(k.Tag)>>31 | uint32(k.Source)>>31<<1)
}

// as gives the key of class c that accepts a message with key k.
func (k Key) as(c class) Key {
	if c&anyTag != 0 {
		k.Tag = AnyTag
	}
	if c&anySrc != 0 {
		k.Source = AnySource
	}
	return k
}

func (k Key) validMessage() bool { return k.Source|k.Tag >= 0 }

func (k Key) validReceive() bool { return k.Source >= AnySource && k.Tag >= AnyTag }

func (k Key) messageError() error { return k.fault(0, "0 or more") }

func (k Key) receiveError() error { return k.fault(-1, "0 or more, or -1 for any") }

// fault reports the first field of k below least.
func (k Key) fault(least int32, want string) error {
	if k.Source < least {
		return &KeyError{Key: k, Field: "source", Value: k.Source, Want: want}
	}
	return &KeyError{Key: k, Field: "tag", Value: k.Tag, Want: want}
}
