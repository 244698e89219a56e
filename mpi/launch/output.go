package launch

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

const (
	chunk    = 8 << 10 // bytes that are read at a time
	longLine = 1 << 20 // bytes after which a line is printed in pieces
)

// output is where all ranks print.
type output struct {
	mu  sync.Mutex // held while writing, so that lines do not mix
	err error      // the first that a writer returned, guarded by mu
}

// write hands whole lines to a writer. After an error nothing more is written.
func (o *output) write(w io.Writer, p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || w == nil {
		return
	}
	_, o.err = w.Write(p)
}

// failure returns the first error of a writer.
func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		return nil
	}
	return fmt.Errorf("launch: %w: %w", ErrOutput, o.err)
}

// stream carries the standard output or the standard error of one rank.
type stream struct {
	out   *output
	to    io.Writer
	tail  *tail  // of the rank
	tag   []byte // put in front of each line; may be empty
	close bool   // a last line without a newline gets one

	inside bool // the last piece ended inside a line
}

// copy carries everything from r, line by line, until it ends.
func (s *stream) copy(r io.Reader) {
	var pending []byte
	for {
		pending = append(pending, make([]byte, chunk)...)
		n, err := r.Read(pending[len(pending)-chunk:])
		pending = pending[:len(pending)-chunk+n]
		whole := bytes.LastIndexByte(pending, '\n') + 1
		if whole == 0 && len(pending) >= longLine {
			whole = len(pending)
		}
		s.emit(pending[:whole])
		pending = append(pending[:0], pending[whole:]...)
		if err != nil {
			s.emit(pending)
			if s.inside && s.close {
				s.out.write(s.to, []byte{'\n'})
			}
			return
		}
	}
}

// emit prints a piece that ends with a line, or is itself inside of one.
func (s *stream) emit(p []byte) {
	if len(p) == 0 {
		return
	}
	s.tail.add(p)
	if len(s.tag) > 0 {
		p = s.tagged(p)
	}
	s.out.write(s.to, p)
	s.inside = p[len(p)-1] != '\n'
}

// tagged returns p with the tag in front of each line that begins in it.
func (s *stream) tagged(p []byte) []byte {
	var b bytes.Buffer
	inside := s.inside
	for line := range bytes.Lines(p) {
		if !inside {
			b.Write(s.tag)
		}
		b.Write(line)
		inside = false
	}
	return b.Bytes()
}
