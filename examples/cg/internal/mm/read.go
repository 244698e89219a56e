package mm

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
)

// An Error is a mistake in a file.
type Error struct {
	File    string
	Line    int    // counts from 1; 0 if the mistake is in no particular line
	Text    string // the offending line, cut after 80 bytes; empty if there is none
	Problem string // what is wrong and what was expected
}

func (e *Error) Error() string {
	switch {
	case e.Line == 0:
		return e.File + ": " + e.Problem
	case e.Text == "":
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %q: %s", e.File, e.Line, e.Text, e.Problem)
}

const (
	maxLine  = 1 << 16 // bytes; the format itself promises lines of at most 1024
	maxQuote = 80
)

// ReadFile reads the matrix in the named file, through gzip if the name ends in ".gz". A mistake in the file is an
// *[Error]; a file that cannot be read is an error of package os or compress/gzip.
func ReadFile(name string) (*Matrix, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !strings.HasSuffix(name, ".gz") {
		return Read(name, f)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return Read(name, z)
}

// Read reads a matrix from r; name stands for the file in errors.
func Read(name string, r io.Reader) (*Matrix, error) {
	l := &lines{file: name, scanner: bufio.NewScanner(r)}
	l.scanner.Buffer(nil, maxLine)
	format, err := readBanner(l)
	if err != nil {
		return nil, err
	}
	size, err := readSize(l)
	if err != nil {
		return nil, err
	}
	entries, err := readEntries(l, format, size)
	if err != nil {
		return nil, err
	}
	m, err := compress(size.n, entries)
	if err == nil && !format.symmetric {
		err = m.CheckSymmetric()
	}
	if err != nil {
		return nil, &Error{File: name, Problem: err.Error()}
	}
	return m, nil
}

// lines walks through a file and knows where it is.
type lines struct {
	file    string
	scanner *bufio.Scanner
	number  int
	text    string // the current line without white space around it
}

// next steps to the next line and returns io.EOF after the last.
func (l *lines) next() error {
	if l.scanner.Scan() {
		l.number++
		l.text = strings.TrimSpace(l.scanner.Text())
		return nil
	}
	l.text = ""
	switch err := l.scanner.Err(); err {
	case nil:
		return io.EOF
	case bufio.ErrTooLong:
		l.number++
		return l.errorf("line is longer than %d bytes", maxLine-1)
	default:
		return fmt.Errorf("%s:%d: %w", l.file, l.number+1, err)
	}
}

// nextData steps over comments and blank lines.
func (l *lines) nextData() error {
	for {
		if err := l.next(); err != nil || (l.text != "" && l.text[0] != '%') {
			return err
		}
	}
}

// errorf returns an Error about the current line.
func (l *lines) errorf(format string, args ...any) error {
	text := l.text
	if len(text) > maxQuote {
		text = text[:maxQuote] + "…"
	}
	return &Error{File: l.file, Line: l.number, Text: text, Problem: fmt.Sprintf(format, args...)}
}
