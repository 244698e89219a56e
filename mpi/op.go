package mpi

import (
	"fmt"
	"reflect"
	"unsafe"

	"outboard/nicrt/reduce"
	"outboard/verbs"
)

// An Op is the operator of a reduction: one of the variables below, which the
// NIC knows by number, or a function of the caller's, made by OpFunc (MPI 4.1, 6.9.2).
type Op struct {
	id   reduce.Op
	user *userOp
}

// The predefined operators. The logical ones take and give integers, with 0 for false and 1 for true;
// they and the bitwise ones are for integers only, Min and Max not for complex numbers.
var (
	Sum        = Op{id: reduce.Sum}
	Prod       = Op{id: reduce.Prod}
	Min        = Op{id: reduce.Min}
	Max        = Op{id: reduce.Max}
	LogicalAnd = Op{id: reduce.LAnd}
	LogicalOr  = Op{id: reduce.LOr}
	LogicalXor = Op{id: reduce.LXor}
	BitAnd     = Op{id: reduce.BAnd}
	BitOr      = Op{id: reduce.BOr}
	BitXor     = Op{id: reduce.BXor}
)

type userOp struct {
	commutative bool
	elem        reflect.Type
	kernel      func(dst, src []byte)
}

// OpFunc makes an operator from a function that sets inout[i] to in[i] op
// inout[i] for every i. The operation must be associative. If
// it is not commutative the operands are combined in the order of ranks.
//
// The NIC calls f, on whichever goroutine runs it: f must not call this
// package, must not end its goroutine, must not keep the slices, and may be called with any part of the buffers. A panic in f
// fails the reduction.
func OpFunc[T Number](commutative bool, f func(in, inout []T)) Op {
	u := &userOp{commutative: commutative, elem: reflect.TypeFor[T]()}
	if f == nil {
		return Op{user: u} // an error of the call that uses it
	}
	if commutative {
		u.kernel = func(dst, src []byte) { f(elements[T](src), elements[T](dst)) }
	} else {
		// The NIC wants dst op src, in dst; f leaves it in its second operand.
		u.kernel = func(dst, src []byte) {
			out := append([]T(nil), elements[T](src)...)
			f(elements[T](dst), out)
			copy(dst, verbs.Bytes(out))
		}
	}
	return Op{user: u}
}

// elements views memory as numbers.
func elements[T Number](b []byte) []T {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/sizeOf[T]())
}

func (o Op) commutative() bool { return o.user == nil || o.user.commutative }

// String names the operator.
func (o Op) String() string {
	if o.user != nil {
		return fmt.Sprintf("function on %v", o.user.elem)
	}
	return o.id.String()
}

// kernelFor finds the NIC's arithmetic for an operator on elements of type T.
func kernelFor[T Number](o Op) (func(dst, src []byte), error) {
	if o.user != nil {
		if o.user.kernel == nil {
			return nil, fmt.Errorf("%w: its function is nil", ErrOp)
		}
		if t := reflect.TypeFor[T](); t != o.user.elem {
			return nil, fmt.Errorf("%w: the operator is a %v, the elements are %v", ErrOp, o, t)
		}
		return o.user.kernel, nil
	}
	k, err := reduce.Lookup(o.id, typeOf[T]())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOp, err)
	}
	return k, nil
}
