package verbs

import (
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysfsDir is a folder of sysfs. What a driver puts there is not to be trusted: all readers answer "nothing" for a file
// that is missing, unreadable or malformed.
type sysfsDir string

func (d sysfsDir) join(names ...string) sysfsDir {
	return sysfsDir(filepath.Join(append([]string{string(d)}, names...)...))
}

// sysfsMax is the size of the largest file of sysfs: a page.
const sysfsMax = 4096

// text is the content of a file of one printable line, without spaces around it.
func (d sysfsDir) text(file string) string {
	f, err := os.Open(filepath.Join(string(d), file))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, sysfsMax+1))
	s := strings.TrimSpace(string(b))
	if err != nil || len(b) > sysfsMax || !printable(s) {
		return ""
	}
	return s
}

// printable accepts ASCII without control characters.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// hex reads a number of at most some bits in hexadecimal, with 0x or without.
func (d sysfsDir) hex(file string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(d.text(file), "0x"), 16, bits)
	return n, err == nil
}

// coded reads a number and its meaning, as in "4: ACTIVE".
func (d sysfsDir) coded(file string) (n int, meaning string, ok bool) {
	number, meaning, ok := strings.Cut(d.text(file), ": ")
	if !ok || meaning == "" {
		return 0, "", false
	}
	n, ok = decimal(number)
	return n, meaning, ok
}

// guid reads a GUID; zero is none.
func (d sysfsDir) guid(file string) (g GUID) {
	if !parseGroups(g[:], d.text(file)) {
		return GUID{}
	}
	return g
}

// tableLen counts the entries of a table: files named 0, 1, 2 and so on.
func (d sysfsDir) tableLen(table string) (n int) {
	entries, err := os.ReadDir(string(d.join(table)))
	if err != nil {
		return 0
	}
	names := make(map[string]bool)
	for _, e := range entries {
		names[e.Name()] = true
	}
	for names[strconv.Itoa(n)] {
		n++
	}
	return n
}

// decimal reads a number of up to nine digits, without a sign or leading zeros.
func decimal(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n < 1e9 && s == strconv.Itoa(n)
}

func parseGID(s string) (g GID, ok bool) {
	ok = parseGroups(g[:], s)
	return g, ok
}

// parseGroups fills b from groups of four hexadecimal digits with colons between. b is undefined if it returns false.
func parseGroups(b []byte, s string) bool {
	groups := strings.Split(s, ":")
	if len(groups) != len(b)/2 {
		return false
	}
	for i, g := range groups {
		if len(g) != 4 {
			return false
		}
		if _, err := hex.Decode(b[2*i:], []byte(g)); err != nil {
			return false
		}
	}
	return true
}
