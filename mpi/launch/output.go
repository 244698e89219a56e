package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	chunk    = 8 << 10                // bytes that are read at a time
	longLine = 1 << 20                // bytes after which a line is printed in pieces
	prompt   = 100 * time.Millisecond // after which a terminal shows the begin of a line
)

// output is where all ranks print.
type output struct {
	mu     sync.Mutex // held while writing, so that lines do not mix
	err    error      // the first that a writer returned, guarded by mu
	broken *stream    // it has printed the begin of a line only, guarded by mu
}

// print writes what a stream has: whole lines, or a piece of one. If another
// stream has left a line unfinished, that line is ended first. After an error
// nothing more is written.
func (o *output) print(s *stream, p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(s.tag) > 0 {
		p = tagged(p, s.tag, o.broken == s)
	}
	if o.broken != nil && o.broken != s {
		o.write(o.broken.to, []byte{'\n'})
	}
	o.write(s.to, p)
	o.broken = nil
	if p[len(p)-1] != '\n' {
		o.broken = s
	}
}

// end finishes the line that a stream has left unfinished.
func (o *output) end(s *stream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken == s {
		o.write(s.to, []byte{'\n'})
		o.broken = nil
	}
}

// write hands p to a writer, if there is one and none has failed.
func (o *output) write(w io.Writer, p []byte) {
	if o.err == nil && w != nil {
		_, o.err = w.Write(p)
	}
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
	live  bool   // somebody watches: show a line that is not finished soon
}

// source is where a stream comes from, such as a pipe.
type source interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// copy carries everything from r, line by line, until it ends.
func (s *stream) copy(r source) {
	var pending []byte
	for {
		if s.live && len(pending) > 0 {
			r.SetReadDeadline(time.Now().Add(prompt))
		}
		pending = append(pending, make([]byte, chunk)...)
		n, err := r.Read(pending[len(pending)-chunk:])
		pending = pending[:len(pending)-chunk+n]
		late := errors.Is(err, os.ErrDeadlineExceeded)
		whole := bytes.LastIndexByte(pending, '\n') + 1
		if late || whole == 0 && len(pending) >= longLine {
			whole = len(pending)
		}
		s.emit(pending[:whole])
		pending = append(pending[:0], pending[whole:]...)
		if late {
			r.SetReadDeadline(time.Time{})
		} else if err != nil {
			s.emit(pending)
			if s.close {
				s.out.end(s)
			}
			return
		}
	}
}

// emit prints whole lines, or a piece of one.
func (s *stream) emit(p []byte) {
	if len(p) > 0 {
		s.tail.add(p)
		s.out.print(s, p)
	}
}

// tagged returns p with the tag in front of each line, but not of the first
// one if that is continued.
func tagged(p, tag []byte, continued bool) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(p) {
		if !continued {
			b.Write(tag)
		}
		b.Write(line)
		continued = false
	}
	return b.Bytes()
}

// isTerminal reports whether a writer shows what is written to a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	terminal := false
	raw.Control(func(fd uintptr) {
		_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		terminal = err == nil
	})
	return terminal
}
