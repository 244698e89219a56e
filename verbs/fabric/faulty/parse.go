package faulty

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A SyntaxError says why a text is no Injector.
type SyntaxError struct {
	Text   string
	Offset int    // of the first byte that doesn't fit
	Want   string // what would have fitted there
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("faulty: injector %.250q, at byte %d: want %s", e.Text, e.Offset, e.Want)
}

// maxDepth is how deep injectors may lie in each other.
const maxDepth = 64

// Parse returns the Injector that prints itself as text:
//
//	OnIndex(NUMBER, FAULT)
//	Every(NUMBER, FAULT)
//	Rate(SEED, PROBABILITY, FAULT)
//	ForEndpoint(NUMBER, INJECTOR)
//	Any(INJECTOR, ...)
//
// A FAULT is None, Drop, Duplicate, Reorder, Delay, Corrupt or Cut; Duplicate, Reorder, Delay and Cut take a
// duration in parentheses, in the form of time.ParseDuration, as Delay(1ms). Blanks may stand between words.
// An error is a *SyntaxError.
func Parse(text string) (Injector, error) {
	p := parser{text: text, rest: text}
	inj, err := p.injector(0)
	if err != nil {
		return nil, err
	}
	if p.skip(); p.rest != "" {
		return nil, p.want("nothing more")
	}
	return inj, nil
}

type parser struct{ text, rest string }

func (p *parser) want(what string) error { return p.wantAt(p.rest, what) }

// wantAt is the error of what started at rest.
func (p *parser) wantAt(rest, what string) error {
	return &SyntaxError{Text: p.text, Offset: len(p.text) - len(rest), Want: what}
}

func (p *parser) skip() { p.rest = strings.TrimLeft(p.rest, " \t\n") }

// token returns what is there up to the next blank, comma or parenthesis.
func (p *parser) token() string {
	p.skip()
	n := strings.IndexAny(p.rest, " \t\n,()")
	if n < 0 {
		n = len(p.rest)
	}
	t := p.rest[:n]
	p.rest = p.rest[n:]
	return t
}

// mark takes one of the marks "(", ",", ")" if it is next.
func (p *parser) mark(m string) (ok bool) {
	p.skip()
	p.rest, ok = strings.CutPrefix(p.rest, m)
	return ok
}

// need is mark for those that must be there.
func (p *parser) need(m string) error {
	if !p.mark(m) {
		return p.want(strconv.Quote(m))
	}
	return nil
}

// number parses a token and the comma after it.
func number[T any](p *parser, what string, parse func(string) (T, error)) (v T, err error) {
	p.skip()
	start := p.rest
	if v, err = parse(p.token()); err != nil {
		return v, p.wantAt(start, what)
	}
	return v, p.need(",")
}

func parseUint(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

func parseRate(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err == nil && !(v >= 0 && v <= 1) {
		err = strconv.ErrRange
	}
	return v, err
}

func (p *parser) injector(depth int) (inj Injector, err error) {
	p.skip()
	start := p.rest
	if depth == maxDepth {
		return nil, p.want(fmt.Sprintf("at most %d injectors in each other", maxDepth))
	}
	name := p.token()
	parse, ok := map[string]func(int) (Injector, error){
		"OnIndex":     p.onIndex,
		"Every":       p.every,
		"Rate":        p.rate,
		"ForEndpoint": p.forEndpoint,
		"Any":         p.anyOf,
	}[name]
	if !ok {
		return nil, p.wantAt(start, "OnIndex, Every, Rate, ForEndpoint or Any")
	}
	if err := p.need("("); err != nil {
		return nil, err
	}
	if inj, err = parse(depth); err != nil {
		return nil, err
	}
	return inj, p.need(")")
}

func (p *parser) onIndex(int) (Injector, error) { return p.numbered(OnIndex) }

func (p *parser) every(int) (Injector, error) { return p.numbered(Every) }

// numbered parses a number and a fault.
func (p *parser) numbered(inject func(uint64, Fault) Injector) (Injector, error) {
	n, err := number(p, "a number", parseUint)
	if err != nil {
		return nil, err
	}
	f, err := p.fault()
	return inject(n, f), err
}

func (p *parser) rate(int) (Injector, error) {
	seed, err := number(p, "a seed", parseUint)
	if err != nil {
		return nil, err
	}
	prob, err := number(p, "a probability from 0 to 1", parseRate)
	if err != nil {
		return nil, err
	}
	f, err := p.fault()
	return Rate(seed, prob, f), err
}

func (p *parser) forEndpoint(depth int) (Injector, error) {
	ep, err := number(p, "an endpoint", strconv.Atoi)
	if err != nil {
		return nil, err
	}
	inj, err := p.injector(depth + 1)
	return ForEndpoint(ep, inj), err
}

func (p *parser) anyOf(depth int) (Injector, error) {
	var all []Injector
	if p.skip(); strings.HasPrefix(p.rest, ")") {
		return Any(), nil
	}
	for {
		inj, err := p.injector(depth + 1)
		if err != nil {
			return nil, err
		}
		all = append(all, inj)
		if !p.mark(",") {
			return Any(all...), nil
		}
	}
}

func (p *parser) fault() (Fault, error) {
	p.skip()
	start := p.rest
	k := slices.Index(faultNames[:], p.token())
	if k < 0 {
		return None, p.wantAt(start, "a fault: "+strings.Join(faultNames[:], ", "))
	}
	f := Fault(k)
	if !p.mark("(") {
		return f, nil
	}
	if f == f.By(1) {
		return None, p.wantAt(start, "a fault that takes a duration")
	}
	p.skip()
	start = p.rest
	d, err := time.ParseDuration(p.token())
	if err != nil || d < 0 {
		return None, p.wantAt(start, "a duration, as 1ms")
	}
	return f.By(d), p.need(")")
}
