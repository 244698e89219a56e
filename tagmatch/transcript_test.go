package tagmatch

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestTranscripts plays each file of testdata to both matchers, which must say the same. A file is a list of programs:
//
//	new [receives=N] [messages=N]     an empty matcher, with these limits
//	run                               a program, one call per line; the output repeats each line and says what came of it
//
// and the calls, with ctx=0 unless given and * for a wildcard:
//
//	post NAME [ctx=C] src=S tag=T     post a receive
//	arrive NAME [ctx=C] src=S tag=T   a message arrives: matched, or queued as unexpected
//	cancel NAME                       cancel a receive
//	probe [ctx=C] src=S tag=T         look for a message
//	extract NAME                      take a message found by probe
//	free ctx=C                        remove all of a context
//	fail [ctx=C] src=S                remove all of a sender
//	dump                              show what is queued
//
// `go test -run TestTranscripts -rewrite` writes the outputs anew: commit them only if you know why they changed.
func TestTranscripts(t *testing.T) {
	for _, m := range []struct {
		name string
		make func(Limits) Matcher[string, string]
	}{
		{"engine", func(l Limits) Matcher[string, string] { return New[string, string](l) }},
		{"list", func(l Limits) Matcher[string, string] { return NewList[string, string](l) }},
	} {
		t.Run(m.name, func(t *testing.T) {
			datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
				p := &player{}
				datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
					switch d.Cmd {
					case "new":
						var l Limits
						d.MaybeScanArgs(t, "receives", &l.Receives)
						d.MaybeScanArgs(t, "messages", &l.Messages)
						p.matcher, p.handles = m.make(l), map[string]Handle{}
						return ""
					case "run":
						return p.run(t, d)
					}
					d.Fatalf(t, "unknown command %q", d.Cmd)
					return ""
				})
			})
		})
	}
}

// player executes the lines of a transcript on one matcher.
type player struct {
	matcher Matcher[string, string]
	handles map[string]Handle // by name, also of what is no longer queued
}

func (p *player) run(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		line = strings.TrimSpace(line)
		said, err := p.call(strings.Fields(line))
		if err != nil {
			d.Fatalf(t, "%q: %v", line, err)
		}
		fmt.Fprintf(&out, "%s: %s\n", line, said)
	}
	return out.String()
}

func (p *player) call(words []string) (string, error) {
	name, k, err := parseArgs(words[1:])
	if err != nil {
		return "", err
	}
	switch words[0] {
	case "post":
		return p.post(name, k), nil
	case "arrive":
		return p.arrive(name, k), nil
	case "cancel":
		recv, ok := p.matcher.Cancel(p.handles[name])
		return removed(recv, ok), nil
	case "extract":
		msg, ok := p.matcher.Extract(p.handles[name])
		return removed(msg, ok), nil
	case "probe":
		return p.probe(k), nil
	case "free":
		return describeRemoved(p.matcher.RemoveContext(k.Ctx)), nil
	case "fail":
		return describeRemoved(p.matcher.RemoveSource(k.Ctx, k.Source)), nil
	case "dump":
		return p.dump(), nil
	}
	return "", fmt.Errorf("unknown call %q", words[0])
}

func (p *player) post(name string, k Key) string {
	h, msg, matched, err := p.matcher.Post(k, name)
	p.handles[name] = h
	switch {
	case err != nil:
		return err.Error()
	case matched != !h.Queued():
		return fmt.Sprintf("matched is %v and yet the handle is %v", matched, h)
	case matched:
		return "takes " + msg
	}
	return "queued"
}

func (p *player) arrive(name string, k Key) string {
	if recv, ok := p.matcher.Match(k); ok {
		return "goes to " + recv
	}
	h, err := p.matcher.Unexpected(k, name)
	p.handles[name] = h
	if err != nil {
		return err.Error()
	}
	return "unexpected"
}

func (p *player) probe(k Key) string {
	msg, found, err := p.matcher.Probe(k)
	switch {
	case err != nil:
		return err.Error()
	case !found:
		return "nothing"
	case msg.Handle != p.handles[msg.Value]:
		return fmt.Sprintf("finds %s under the wrong handle", msg.Value)
	}
	return fmt.Sprintf("finds %s (%v)", msg.Value, msg.Key)
}

func (p *player) dump() string {
	var out strings.Builder
	receives, messages := p.matcher.Len()
	fmt.Fprintf(&out, "%d posted, %d unexpected", receives, messages)
	dumpQueue(&out, "posted    ", p.matcher.Receives())
	dumpQueue(&out, "unexpected", p.matcher.Messages())
	return out.String()
}

func dumpQueue(out *strings.Builder, title string, queue iter.Seq[Entry[string]]) {
	for e := range queue {
		fmt.Fprintf(out, "\n  %s  %s  %v", title, e.Value, e.Key)
	}
}

func removed(what string, ok bool) string {
	if !ok {
		return "not queued"
	}
	return "removed " + what
}

func describeRemoved(receives, messages []Entry[string]) string {
	var names []string
	for _, e := range receives {
		names = append(names, e.Value)
	}
	for _, e := range messages {
		names = append(names, e.Value)
	}
	if names == nil {
		return "removed nothing"
	}
	return "removed " + strings.Join(names, " ")
}

// parseArgs reads [NAME] [ctx=C] [src=S] [tag=T].
func parseArgs(args []string) (name string, k Key, err error) {
	for _, arg := range args {
		field, value, isField := strings.Cut(arg, "=")
		if !isField {
			name = arg
			continue
		}
		if value == "*" {
			value = "-1"
		}
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return "", k, err
		}
		switch field {
		case "ctx":
			k.Ctx = uint32(n)
		case "src":
			k.Source = int32(n)
		case "tag":
			k.Tag = int32(n)
		default:
			return "", k, fmt.Errorf("unknown field %q", field)
		}
	}
	return name, k, nil
}
