package mm

import (
	"io"
	"math"
	"strconv"
	"strings"
)

// A format is what the banner says about the entries.
type format struct {
	parse     func(string) (float64, error) // nil for a pattern, whose entries have no value
	want      string                        // what parse takes
	symmetric bool                          // only the lower triangle is listed
}

const banner = "%%MatrixMarket matrix coordinate real|integer|pattern general|symmetric"

// readBanner reads the first line.
func readBanner(l *lines) (format, error) {
	if err := l.next(); err == io.EOF {
		return format{}, &Error{File: l.file, Problem: "file is empty, want " + banner}
	} else if err != nil {
		return format{}, err
	}
	words := strings.Fields(strings.ToLower(l.text))
	if len(words) != 5 || words[0] != "%%matrixmarket" {
		return format{}, l.errorf("not a Matrix Market banner, want %s", banner)
	}
	if words[1] != "matrix" {
		return format{}, l.errorf("object is %q, want matrix", words[1])
	}
	if words[2] != "coordinate" {
		return format{}, l.errorf("format is %q, want coordinate (a sparse matrix)", words[2])
	}
	f, ok := fields[words[3]]
	if !ok {
		return format{}, l.errorf("field is %q, want real, integer or pattern", words[3])
	}
	switch words[4] {
	case "general":
	case "symmetric":
		f.symmetric = true
	default:
		return format{}, l.errorf("symmetry is %q, want general or symmetric: "+
			"conjugate gradients needs a symmetric positive definite matrix", words[4])
	}
	return f, nil
}

var fields = map[string]format{
	"real":    {parse: parseReal, want: "a finite number"},
	"integer": {parse: parseInteger, want: "an integer of 64 bits"},
	"pattern": {},
}

func parseReal(word string) (float64, error) {
	v, err := strconv.ParseFloat(word, 64)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = strconv.ErrRange
	}
	return v, err
}

func parseInteger(word string) (float64, error) {
	v, err := strconv.ParseInt(word, 10, 64)
	return float64(v), err
}

// A size is what the size line says.
type size struct {
	n      int // rows and columns
	listed int // entries in the file
}

// readSize reads the first line that is neither blank nor a comment.
func readSize(l *lines) (size, error) {
	if err := l.nextData(); err == io.EOF {
		return size{}, l.errorf("file ends before the size line, want rows, columns and entries")
	} else if err != nil {
		return size{}, err
	}
	words := strings.Fields(l.text)
	if len(words) != 3 {
		return size{}, l.errorf("size line has %d numbers, want 3: rows, columns and entries", len(words))
	}
	var numbers [3]int
	for i, word := range words {
		v, err := strconv.ParseInt(word, 10, 32)
		if err != nil || v < 0 {
			return size{}, l.errorf("%q is no size, want an integer from 0 to %d", word, math.MaxInt32)
		}
		numbers[i] = int(v)
	}
	rows, columns, listed := numbers[0], numbers[1], numbers[2]
	if rows != columns {
		return size{}, l.errorf("matrix has %d rows and %d columns, want as many rows as columns", rows, columns)
	}
	if rows == 0 {
		return size{}, l.errorf("matrix has no rows, want at least one")
	}
	// A row without an entry makes the matrix singular. Besides, this keeps the row index no larger than the file.
	if listed < rows {
		return size{}, l.errorf("%d entries cannot fill %d rows, want an entry on the diagonal of each", listed, rows)
	}
	return size{n: rows, listed: listed}, nil
}

// readEntries reads the listed entries and checks that there are no more. Those of a symmetric file come out with
// their mirror images.
func readEntries(l *lines, f format, s size) ([]triplet, error) {
	var entries []triplet
	for read := 0; ; read++ {
		err := l.nextData()
		switch {
		case err == io.EOF && read < s.listed:
			return nil, l.errorf("file ends after %d of %d entries", read, s.listed)
		case err == io.EOF:
			return entries, nil
		case err != nil:
			return nil, err
		case read == s.listed:
			return nil, l.errorf("another entry after the %d that the size line gives", s.listed)
		}
		e, err := parseEntry(l, f, s.n)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
		if f.symmetric && e.row != e.col {
			entries = append(entries, triplet{row: e.col, col: e.row, val: e.val})
		}
	}
}

// parseEntry parses the current line: row, column and, but in a pattern, a value.
func parseEntry(l *lines, f format, n int) (triplet, error) {
	row, rest := cutWord(l.text)
	col, rest := cutWord(rest)
	e := triplet{val: 1}
	var err error
	if e.row, err = parseIndex(l, "row", row, n); err != nil {
		return e, err
	}
	if e.col, err = parseIndex(l, "column", col, n); err != nil {
		return e, err
	}
	if f.parse != nil {
		var val string
		val, rest = cutWord(rest)
		if val == "" {
			return e, l.errorf("entry has no value, want %s", f.want)
		}
		if e.val, err = f.parse(val); err != nil {
			return e, l.errorf("value is %q, want %s", val, f.want)
		}
	}
	if rest != "" {
		return e, l.errorf("%q after the entry, want the end of the line", rest)
	}
	if f.symmetric && e.col > e.row {
		return e, l.errorf("entry is above the diagonal, want only the lower triangle of a symmetric matrix")
	}
	return e, nil
}

// parseIndex turns an index that counts from 1 into one that counts from 0.
func parseIndex(l *lines, what, word string, n int) (int32, error) {
	v, err := strconv.ParseInt(word, 10, 32)
	if err != nil || v < 1 || int(v) > n {
		return 0, l.errorf("%s is %q, want an integer from 1 to %d", what, word, n)
	}
	return int32(v - 1), nil
}

// cutWord splits s, which does not begin with white space, after its first word and drops the white space between.
func cutWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t\v\f\r")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t\v\f\r")
}
