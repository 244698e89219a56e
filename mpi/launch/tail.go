package launch

import (
	"bytes"
	"sync"
)

const (
	tailLines = 10  // lines that are remembered of each rank
	tailWidth = 512 // bytes that are remembered of a line
)

// tail remembers the last lines that a rank printed on either stream.
type tail struct {
	mu    sync.Mutex
	lines [tailLines]string // a ring, guarded by mu
	next  int               // lines seen so far, guarded by mu
}

// add takes whole lines, or a piece of one.
func (t *tail) add(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range bytes.Lines(lastLines(p)) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) > tailWidth {
			line = append(line[:tailWidth:tailWidth], "…"...)
		}
		t.lines[t.next%tailLines] = string(line)
		t.next++
	}
}

// lastLines returns the end of p that can matter to a tail.
func lastLines(p []byte) []byte {
	end := len(bytes.TrimSuffix(p, []byte{'\n'}))
	for range tailLines {
		end = bytes.LastIndexByte(p[:end], '\n')
		if end < 0 {
			return p
		}
	}
	return p[end+1:]
}

// get returns the remembered lines, the oldest first.
func (t *tail) get() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for i := max(0, t.next-tailLines); i < t.next; i++ {
		lines = append(lines, t.lines[i%tailLines])
	}
	return lines
}
