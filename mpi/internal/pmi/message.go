package pmi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of the protocol, the same as Hydra's. A length counts a terminating
// zero that is not sent, so the longest value has MaxValue-1 bytes.
const (
	MaxName  = 256  // bytes of the name of the key-value space
	MaxKey   = 64   // bytes of a key
	MaxValue = 1024 // bytes of a value
	MaxLine  = 4096 // bytes of a line with its newline

	maxFields = 32 // fields of one message
)

// Field is one key=value of a message.
type Field struct{ Key, Value string }

// Message is one line of the protocol: cmd=Cmd and further fields, in any
// order. Keys are distinct.
type Message struct {
	Cmd    string
	Fields []Field
}

// Get returns the value of a field and whether the message has it.
func (m Message) Get(key string) (string, bool) {
	for _, f := range m.Fields {
		if f.Key == key {
			return f.Value, true
		}
	}
	return "", false
}

// Int returns the value of a field that must be a decimal 32-bit number.
func (m Message) Int(key string) (int, error) {
	s, ok := m.Get(key)
	if !ok {
		return 0, protocolError(m.Cmd, key, "", "a number")
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, protocolError(m.Cmd, key, s, "a number")
	}
	return int(n), nil
}

// String returns the line without its newline.
func (m Message) String() string {
	var b strings.Builder
	b.WriteString("cmd=" + m.Cmd)
	for _, f := range m.Fields {
		b.WriteString(" " + f.Key + "=" + f.Value)
	}
	return b.String()
}

// ParseMessage reads a line without its newline. The error is an *Error with
// ErrProtocol.
func ParseMessage(line string) (Message, error) {
	if len(line) >= MaxLine {
		return Message{}, protocolError("line", "", clip(line), fmt.Sprintf("fewer than %d bytes", MaxLine))
	}
	if i := strings.IndexFunc(line, isControl); i >= 0 {
		return Message{}, protocolError("line", "", clip(line), "no control characters")
	}
	var m Message
	for token := range strings.SplitSeq(line, " ") {
		if token == "" {
			continue
		}
		key, value, ok := strings.Cut(token, "=")
		if !ok || key == "" {
			return Message{}, protocolError("line", "", clip(token), "key=value")
		}
		if _, dup := m.Get(key); dup || key == "cmd" && m.Cmd != "" {
			return Message{}, protocolError("line", key, clip(line), "each key once")
		}
		switch {
		case key != "cmd":
			m.Fields = append(m.Fields, Field{key, value})
		case value == "":
			return Message{}, protocolError("line", "cmd", clip(line), "a command")
		default:
			m.Cmd = value
		}
		if len(m.Fields) > maxFields {
			return Message{}, protocolError("line", "", clip(line), fmt.Sprintf("at most %d fields", maxFields))
		}
	}
	if m.Cmd == "" {
		return Message{}, protocolError("line", "", clip(line), "cmd=…")
	}
	return m, nil
}

// isControl reports the bytes that no line may hold.
func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// checkToken refuses a key or a value that could not be read back from a line:
// empty, longer than limit-1 bytes, or with a space or a control character,
// and in a key with a '='.
func checkToken(op, what, s string, limit int, key bool) error {
	bad := func(want string) error {
		return &Error{Op: op, What: what, Got: clip(s), Want: want, Err: ErrLimit}
	}
	switch {
	case s == "":
		return bad("at least one byte")
	case len(s) >= limit:
		return bad(fmt.Sprintf("fewer than %d bytes, not %d", limit, len(s)))
	case strings.IndexFunc(s, func(r rune) bool { return r == ' ' || isControl(r) }) >= 0:
		return bad("no spaces and no control characters")
	case key && strings.Contains(s, "="):
		return bad("no '='")
	}
	return nil
}

// newLineReader returns a reader that readLine can use.
func newLineReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, MaxLine) }

// readLine returns the next line without its newline. A stream that ends
// inside a line ends with io.ErrUnexpectedEOF.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case err == nil:
		return string(line[:len(line)-1]), nil
	case errors.Is(err, bufio.ErrBufferFull):
		return "", protocolError("line", "", clip(string(line)), fmt.Sprintf("at most %d bytes", MaxLine))
	case errors.Is(err, io.EOF) && len(line) > 0:
		return "", io.ErrUnexpectedEOF
	}
	return "", err
}

// readMessage returns the next message.
func readMessage(r *bufio.Reader) (Message, error) {
	line, err := readLine(r)
	if err != nil {
		return Message{}, err
	}
	return ParseMessage(line)
}

func protocolError(op, what, got, want string) error {
	return &Error{Op: op, What: what, Got: clip(got), Want: want, Err: ErrProtocol}
}

// clip shortens foreign text for an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
