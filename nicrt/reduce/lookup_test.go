package reduce

import (
	"errors"
	"strings"
	"testing"
)

// TestLookup holds every pair of bytes to the table of MPI 4.1, section 6.9.2.
func TestLookup(t *testing.T) {
	isInteger := func(of Type) bool { return of >= Int8 && of <= Uint64 }
	isFloat := func(of Type) bool { return of == Float32 || of == Float64 }
	isComplex := func(of Type) bool { return of == Complex64 || of == Complex128 }
	defined := func(op Op, of Type) bool {
		switch op {
		case Sum, Prod:
			return isInteger(of) || isFloat(of) || isComplex(of)
		case Min, Max:
			return isInteger(of) || isFloat(of)
		case LAnd, LOr, LXor, BAnd, BOr, BXor:
			return isInteger(of)
		}
		return false
	}
	for i := range 256 * 256 {
		op, of := Op(i/256), Type(i%256)
		two, err := Lookup(op, of)
		three, err3 := Lookup3(op, of)
		if defined(op, of) {
			if two == nil || three == nil || err != nil || err3 != nil {
				t.Errorf("%v of %v: errors %v and %v, want kernels", op, of, err, err3)
			}
			continue
		}
		if two != nil || three != nil {
			t.Errorf("%v of %v: a kernel, want an error", op, of)
		}
		for _, err := range []error{err, err3} {
			var undefined *UndefinedError
			if !errors.Is(err, ErrUndefined) || !errors.As(err, &undefined) || *undefined != (UndefinedError{op, of}) {
				t.Errorf("%v of %v: error %v, want an UndefinedError with both", op, of, err)
			}
		}
	}
}

func TestUndefinedErrorSaysWhatIsExpected(t *testing.T) {
	cases := []struct {
		name string
		op   Op
		of   Type
		want []string
	}{
		{"ordering of complex", Max, Complex64, []string{"max", "complex64", "an integer or floating-point type"}},
		{"bits of floats", BAnd, Float64, []string{"bitwise and", "float64", "an integer type"}},
		{"truth of floats", LOr, Float32, []string{"logical or", "float32", "an integer type"}},
		{"truth of complex", LXor, Complex128, []string{"logical xor", "complex128", "an integer type"}},
		{"zero operator", 0, Int8, []string{"Op(0)", "an operator from 1 (sum) to 10 (bitwise xor)"}},
		{"operator out of range", 200, Int8, []string{"Op(200)", "an operator from 1 (sum) to 10 (bitwise xor)"}},
		{"zero type", Sum, 0, []string{"Type(0)", "a type from 1 (int8) to 12 (complex128)"}},
		{"type out of range", Sum, 13, []string{"Type(13)", "a type from 1 (int8) to 12 (complex128)"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Lookup(c.op, c.of)
			for _, part := range c.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error %q, want it to contain %q", err, part)
				}
			}
		})
	}
}

func TestTypes(t *testing.T) {
	cases := []struct {
		of    Type
		name  string
		size  int
		valid bool
	}{
		{Int8, "int8", 1, true}, {Int16, "int16", 2, true}, {Int32, "int32", 4, true}, {Int64, "int64", 8, true},
		{Uint8, "uint8", 1, true}, {Uint16, "uint16", 2, true}, {Uint32, "uint32", 4, true}, {Uint64, "uint64", 8, true},
		{Float32, "float32", 4, true}, {Float64, "float64", 8, true},
		{Complex64, "complex64", 8, true}, {Complex128, "complex128", 16, true},
		{0, "Type(0)", 0, false}, {255, "Type(255)", 0, false},
	}
	for _, c := range cases {
		if c.of.String() != c.name || c.of.Size() != c.size || c.of.Valid() != c.valid {
			t.Errorf("%v: size %d, valid %v; want %s, %d, %v", c.of, c.of.Size(), c.of.Valid(), c.name, c.size, c.valid)
		}
	}
}

// TestFeatures holds the path in use to the quickest one there is, and the
// order of paths to end with Go, which is always there.
func TestFeatures(t *testing.T) {
	ps := paths()
	if Features() != ps[0].name {
		t.Errorf("Features() = %q, want %q", Features(), ps[0].name)
	}
	if last := ps[len(ps)-1]; last.name != "go" {
		t.Errorf("the last path is %q, want go", last.name)
	}
}
