package mm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// dense spells a matrix out, a row a line.
func dense(m *Matrix) string {
	var b strings.Builder
	for i := range m.N() {
		for j := range m.N() {
			fmt.Fprintf(&b, "%g ", m.At(i, j))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestRead(t *testing.T) {
	const (
		real3  = "4 1 0 \n1 5 2 \n0 2 6 \n"
		ones2  = "1 1 \n1 1 \n"
		real11 = "7 \n"
	)
	for _, test := range []struct{ name, file, want string }{
		{"general", "%%MatrixMarket matrix coordinate real general\n3 3 7\n1 1 4\n1 2 1\n2 1 1\n2 2 5\n2 3 2\n3 2 2\n3 3 6\n", real3},
		{"symmetric", "%%MatrixMarket matrix coordinate real symmetric\n3 3 5\n1 1 4\n2 1 1\n2 2 5\n3 2 2\n3 3 6\n", real3},
		{"any order", "%%MatrixMarket matrix coordinate real symmetric\n3 3 5\n3 3 6\n2 1 1\n1 1 4\n3 2 2\n2 2 5\n", real3},
		{"integer", "%%MatrixMarket matrix coordinate integer symmetric\n3 3 5\n1 1 4\n2 1 1\n2 2 5\n3 2 2\n3 3 6\n", real3},
		{"pattern", "%%MatrixMarket matrix coordinate pattern symmetric\n2 2 3\n1 1\n2 1\n2 2\n", ones2},
		{"duplicates", "%%MatrixMarket matrix coordinate real symmetric\n3 3 7\n1 1 1.5\n2 1 3\n1 1 2.5\n2 2 5\n3 2 2\n3 3 6\n2 1 -2\n", real3},
		{"CRLF", "%%MatrixMarket matrix coordinate real symmetric\r\n3 3 5\r\n1 1 4\r\n2 1 1\r\n2 2 5\r\n3 2 2\r\n3 3 6\r\n", real3},
		{"comments and blank lines", "%%MatrixMarket matrix coordinate real general\n% a\n\n%b\n1 1 1\n\n% c\n1 1 7\n \n% d\n", real11},
		{"white space", "%%MatrixMarket\tmatrix  coordinate real general \n \t1  1\t1 \n\t1   1 \t 7 \n", real11},
		{"letter case", "%%matrixmarket MATRIX Coordinate Real GENERAL\n1 1 1\n1 1 7\n", real11},
		{"no last newline", "%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 7", real11},
		{"exponent and sign", "%%MatrixMarket matrix coordinate real general\n1 1 1\n+1 1 +.07E+02\n", real11},
		{"explicit zero", "%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 1\n2 1 0\n2 2 1\n", "1 0 \n0 1 \n"},
		{"rounded symmetry", "%%MatrixMarket matrix coordinate real general\n2 2 4\n1 1 1e9\n1 2 1\n2 1 1.0000001\n2 2 1e9\n",
			"1e+09 1 \n1.0000001 1e+09 \n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := Read("a.mtx", strings.NewReader(test.file))
			if err != nil {
				t.Fatal(err)
			}
			if got := dense(m); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	const (
		general   = "%%MatrixMarket matrix coordinate real general\n"
		symmetric = "%%MatrixMarket matrix coordinate real symmetric\n"
		integer   = "%%MatrixMarket matrix coordinate integer general\n"
		pattern   = "%%MatrixMarket matrix coordinate pattern general\n"
	)
	for _, test := range []struct{ name, file, want string }{
		{"empty file", "", "a.mtx: file is empty"},
		{"no banner", "3 3 5\n", `a.mtx:1: "3 3 5": not a Matrix Market banner`},
		{"short banner", "%%MatrixMarket matrix coordinate real\n", "a.mtx:1: \"%%MatrixMarket matrix coordinate real\": not a Matrix"},
		{"object", "%%MatrixMarket vector coordinate real general\n", `object is "vector"`},
		{"array", "%%MatrixMarket matrix array real general\n2 2\n", `a.mtx:1: "%%MatrixMarket matrix array real general": format is "array"`},
		{"complex", "%%MatrixMarket matrix coordinate complex general\n", `field is "complex", want real`},
		{"skew-symmetric", "%%MatrixMarket matrix coordinate real skew-symmetric\n", `symmetry is "skew-symmetric"`},
		{"Hermitian", "%%MatrixMarket matrix coordinate real hermitian\n", `symmetry is "hermitian"`},
		{"no size", general + "% nothing\n", "a.mtx:2: file ends before the size line"},
		{"short size", general + "3 3\n", `a.mtx:2: "3 3": size line has 2 numbers`},
		{"long size", general + "3 3 3 3\n", "size line has 4 numbers"},
		{"size is no number", general + "3 x 3\n", `"x" is no size`},
		{"negative size", general + "-3 -3 3\n", `"-3" is no size`},
		{"huge size", general + "99999999999 99999999999 1\n", `"99999999999" is no size, want an integer from 0 to 2147483647`},
		{"size without entries", general + "2147483647 2147483647 1\n", "1 entries cannot fill 2147483647 rows"},
		{"no rows", general + "0 0 0\n", "no rows"},
		{"not square", general + "3 4 5\n", `a.mtx:2: "3 4 5": matrix has 3 rows and 4 columns`},
		{"too few entries", general + "% c\n2 2 3\n1 1 1\n2 2 1\n", "a.mtx:5: file ends after 2 of 3 entries"},
		{"too many entries", general + "1 1 1\n1 1 1\n\n1 1 2\n", `a.mtx:5: "1 1 2": another entry after the 1`},
		{"row 0", general + "1 1 1\n0 1 1\n", `a.mtx:3: "0 1 1": row is "0", want an integer from 1 to 1`},
		{"column beyond", general + "2 2 2\n1 3 1\n", `a.mtx:3: "1 3 1": column is "3", want an integer from 1 to 2`},
		{"negative row", general + "1 1 1\n-1 1 1\n", `row is "-1"`},
		{"fractional row", general + "1 1 1\n1.0 1 1\n", `row is "1.0"`},
		{"row overflow", general + "1 1 1\n18446744073709551617 1 1\n", `row is "18446744073709551617"`},
		{"no column", general + "1 1 1\n1\n", `a.mtx:3: "1": column is ""`},
		{"no value", general + "1 1 1\n1 1\n", `a.mtx:3: "1 1": entry has no value`},
		{"value is no number", general + "1 1 1\n1 1 one\n", `value is "one", want a finite number`},
		{"NaN", general + "1 1 1\n1 1 NaN\n", `a.mtx:3: "1 1 NaN": value is "NaN", want a finite number`},
		{"Inf", general + "1 1 1\n1 1 -Inf\n", `value is "-Inf"`},
		{"overflow", general + "1 1 1\n1 1 1e999\n", `value is "1e999"`},
		{"fraction in integer", integer + "1 1 1\n1 1 1.5\n", `value is "1.5", want an integer`},
		{"integer overflow", integer + "1 1 1\n1 1 9223372036854775808\n", `value is "9223372036854775808"`},
		{"value in pattern", pattern + "1 1 1\n1 1 1\n", `"1" after the entry`},
		{"second value", general + "1 1 1\n1 1 1 0\n", `a.mtx:3: "1 1 1 0": "0" after the entry`},
		{"above the diagonal", symmetric + "2 2 2\n1 1 1\n1 2 1\n", `a.mtx:4: "1 2 1": entry is above the diagonal`},
		{"asymmetric value", general + "2 2 4\n1 1 3\n1 2 1\n2 1 2\n2 2 3\n", "a.mtx: not symmetric: entry (1, 2) is 1 but entry (2, 1) is 2"},
		{"asymmetric pattern", pattern + "2 2 3\n1 1\n2 1\n2 2\n", "entry (2, 1) is 1 but entry (1, 2) is 0"},
		{"infinite sum", general + "1 1 2\n1 1 1e308\n1 1 1e308\n", "a.mtx: the entries at (1, 1) add up to +Inf"},
		{"long line", general + strings.Repeat("1", maxLine), "a.mtx:2: line is longer than 65535 bytes"},
		{"long offender", general + "1 1 1\n1 1 " + strings.Repeat("x", 200), strings.Repeat("x", maxQuote-4) + `…": value is`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read("a.mtx", strings.NewReader(test.file))
			var mistake *Error
			if !errors.As(err, &mistake) {
				t.Fatalf("got %v (%T), want an *Error", err, err)
			}
			if mistake.File != "a.mtx" {
				t.Errorf("file is %q, want a.mtx", mistake.File)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want it to contain %q", err, test.want)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	const file = "%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 7\n"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(file))
	z.Close()

	dir := t.TempDir()
	write := func(name string, content []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, content, 0o666); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, name := range []string{write("plain.mtx", []byte(file)), write("zipped.mtx.gz", zipped.Bytes())} {
		m, err := ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := dense(m); got != "7 \n" {
			t.Errorf("%s: got %q, want 7", name, got)
		}
	}

	if _, err := ReadFile(filepath.Join(dir, "absent.mtx")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: got %v, want fs.ErrNotExist", err)
	}
	if _, err := ReadFile(write("plain.gz", []byte(file))); !errors.Is(err, gzip.ErrHeader) {
		t.Errorf("no gzip: got %v, want gzip.ErrHeader", err)
	}
	damaged := bytes.Clone(zipped.Bytes())
	damaged[len(damaged)-8] ^= 1 // the checksum
	if _, err := ReadFile(write("damaged.gz", damaged)); !errors.Is(err, gzip.ErrChecksum) {
		t.Errorf("damaged gzip: got %v, want gzip.ErrChecksum", err)
	}
}

// TestReadAgainstDense reads random symmetric matrices with duplicates and compares every entry with a dense sum.
func TestReadAgainstDense(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		listed := rapid.IntRange(n, 40).Draw(t, "listed")
		want := make([][]float64, n)
		for i := range want {
			want[i] = make([]float64, n)
		}
		var file strings.Builder
		fmt.Fprintf(&file, "%%%%MatrixMarket matrix coordinate integer symmetric\n%d %d %d\n", n, n, listed)
		for range listed {
			i := rapid.IntRange(0, n-1).Draw(t, "i")
			j := rapid.IntRange(0, i).Draw(t, "j")
			v := rapid.IntRange(-9, 9).Draw(t, "v")
			fmt.Fprintf(&file, "%d %d %d\n", i+1, j+1, v)
			want[i][j] += float64(v)
			if i != j {
				want[j][i] += float64(v)
			}
		}
		m, err := Read("a.mtx", strings.NewReader(file.String()))
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			for j := range n {
				if got := m.At(i, j); got != want[i][j] {
					t.Fatalf("entry (%d, %d) is %g, want %g", i, j, got, want[i][j])
				}
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add("%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 7\n")
	f.Add("%%MatrixMarket matrix coordinate integer symmetric\n% c\n\n2 2 3\n1 1 4\r\n2 1 -1\n2 2 4\n")
	f.Add("%%MatrixMarket matrix coordinate pattern symmetric\n2 2 3\n2 2\n1 1\n2 2\n")
	f.Add("%%MatrixMarket matrix coordinate real symmetric\n2147483647 2147483647 2147483647\n1 1 NaN\n")
	f.Fuzz(func(t *testing.T, file string) {
		m, err := Read("a.mtx", strings.NewReader(file))
		if err != nil {
			if mistake := (*Error)(nil); !errors.As(err, &mistake) {
				t.Fatalf("got %v (%T), want an *Error", err, err)
			}
			return
		}
		checkInvariants(t, m)
	})
}

// checkInvariants checks what the comment of Matrix promises.
func checkInvariants(t *testing.T, m *Matrix) {
	t.Helper()
	n := m.N()
	if n < 1 || m.Ptr[0] != 0 || m.Ptr[n] != len(m.Col) || len(m.Col) != len(m.Val) {
		t.Fatalf("%d rows, row starts from %d to %d, %d columns, %d values", n, m.Ptr[0], m.Ptr[n], len(m.Col), len(m.Val))
	}
	for i := range n {
		for k := m.Ptr[i]; k < m.Ptr[i+1]; k++ {
			if m.Col[k] < 0 || int(m.Col[k]) >= n || (k > m.Ptr[i] && m.Col[k] <= m.Col[k-1]) {
				t.Fatalf("row %d has the columns %v, want ascending ones below %d", i, m.Col[m.Ptr[i]:m.Ptr[i+1]], n)
			}
			if math.IsNaN(m.Val[k]) || math.IsInf(m.Val[k], 0) {
				t.Fatalf("entry (%d, %d) is %g", i, m.Col[k], m.Val[k])
			}
		}
	}
	if err := m.CheckSymmetric(); err != nil {
		t.Fatal(err)
	}
}
