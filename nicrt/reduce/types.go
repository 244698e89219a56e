package reduce

import "strconv"

// A Type is the type of one element. The zero Type is not valid.
type Type uint8

// The fixed-size numeric types of Go.
const (
	Int8 Type = iota + 1
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Float32
	Float64
	Complex64
	Complex128

	typeEnd
)

var typeInfo = [typeEnd]struct {
	name string
	size int
}{
	Int8:       {"int8", 1},
	Int16:      {"int16", 2},
	Int32:      {"int32", 4},
	Int64:      {"int64", 8},
	Uint8:      {"uint8", 1},
	Uint16:     {"uint16", 2},
	Uint32:     {"uint32", 4},
	Uint64:     {"uint64", 8},
	Float32:    {"float32", 4},
	Float64:    {"float64", 8},
	Complex64:  {"complex64", 8},
	Complex128: {"complex128", 16},
}

// Valid reports whether t is one of the constants.
func (t Type) Valid() bool { return t > 0 && t < typeEnd }

// Size is the length of one element in bytes, 0 for a Type that is not valid.
func (t Type) Size() int {
	if !t.Valid() {
		return 0
	}
	return typeInfo[t].size
}

// String is Go's name of the type.
func (t Type) String() string {
	if !t.Valid() {
		return "Type(" + strconv.Itoa(int(t)) + ")"
	}
	return typeInfo[t].name
}

// An Op is a reduction operator; all of them are associative and commutative
// up to rounding. The zero Op is not valid.
type Op uint8

// The operators of MPI 4.1, section 6.9.2, except for MINLOC and MAXLOC.
const (
	Sum  Op = iota + 1 // integers wrap around
	Prod               // integers wrap around
	Min                // NaN if either side is NaN; -0 is less than +0
	Max                // NaN if either side is NaN; -0 is less than +0
	LAnd               // 1 if both sides are not 0, else 0
	LOr                // 1 if either side is not 0, else 0
	LXor               // 1 if just one side is not 0, else 0
	BAnd               // bit by bit
	BOr                // bit by bit
	BXor               // bit by bit

	opEnd
)

var opName = [opEnd]string{
	Sum:  "sum",
	Prod: "prod",
	Min:  "min",
	Max:  "max",
	LAnd: "logical and",
	LOr:  "logical or",
	LXor: "logical xor",
	BAnd: "bitwise and",
	BOr:  "bitwise or",
	BXor: "bitwise xor",
}

// Valid reports whether o is one of the constants.
func (o Op) Valid() bool { return o > 0 && o < opEnd }

// String is the operator's name in words.
func (o Op) String() string {
	if !o.Valid() {
		return "Op(" + strconv.Itoa(int(o)) + ")"
	}
	return opName[o]
}
