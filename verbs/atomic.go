package verbs

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// atomicArgs are the operands of an atomic as they travel.
type atomicArgs struct {
	op                    Opcode
	swapAdd, compare      uint64
	swapAddMask, compMask uint64
}

// atomicArgsLen is the length of the operands on the wire, and that of the forms with masks.
const atomicArgsLen, maskedArgsLen = 16, 32

func atomicOf(wr *SendWR) atomicArgs {
	a := atomicArgs{op: wr.Opcode, swapAdd: wr.Add}
	if wr.Opcode == CompareSwap || wr.Opcode == MaskedCompareSwap {
		a.swapAdd, a.compare = wr.Swap, wr.Compare
	}
	switch {
	case wr.Mask == nil:
	case wr.Opcode == MaskedCompareSwap:
		a.swapAddMask, a.compMask = wr.Mask.Swap, wr.Mask.Compare
	case wr.Opcode == MaskedFetchAdd:
		a.swapAddMask = wr.Mask.Add
	}
	return a
}

// append appends the operands as they travel.
func (a atomicArgs) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, a.swapAdd)
	b = binary.LittleEndian.AppendUint64(b, a.compare)
	if a.op.has(opMasked) {
		b = binary.LittleEndian.AppendUint64(b, a.swapAddMask)
		b = binary.LittleEndian.AppendUint64(b, a.compMask)
	}
	return b
}

// parseAtomic reads the operands of an atomic; false if they are not one's.
func parseAtomic(op Opcode, p []byte) (a atomicArgs, ok bool) {
	want := atomicArgsLen
	if op >= numOpcodes || !op.has(opAtomic) {
		return a, false
	}
	if op.has(opMasked) {
		want = maskedArgsLen
	}
	if len(p) != want {
		return a, false
	}
	a = atomicArgs{op: op, swapAdd: binary.LittleEndian.Uint64(p), compare: binary.LittleEndian.Uint64(p[8:])}
	if op.has(opMasked) {
		a.swapAddMask, a.compMask = binary.LittleEndian.Uint64(p[16:]), binary.LittleEndian.Uint64(p[24:])
	}
	return a, true
}

// next gives the value that the operation leaves where it finds old.
func (a atomicArgs) next(old uint64) uint64 {
	switch a.op {
	case CompareSwap:
		if old != a.compare {
			return old
		}
		return a.swapAdd
	case MaskedCompareSwap:
		if (old^a.compare)&a.compMask != 0 {
			return old
		}
		return old&^a.swapAddMask | a.swapAdd&a.swapAddMask
	case MaskedFetchAdd:
		// The carry out of the highest bit of each field is suppressed: add without those bits, which
		// then add without carry.
		high := a.swapAddMask
		return (old&^high + a.swapAdd&^high) ^ (old^a.swapAdd)&high
	}
	return old + a.swapAdd
}

// run executes the operation on a word of this process, atomically with its processors, and returns
// the value before.
func (a atomicArgs) run(b []byte) (old uint64) {
	v := (*uint64)(unsafe.Pointer(unsafe.SliceData(b)))
	if a.op == FetchAdd {
		return atomic.AddUint64(v, a.swapAdd) - a.swapAdd
	}
	for {
		old = atomic.LoadUint64(v)
		next := a.next(old)
		if next == old || atomic.CompareAndSwapUint64(v, old, next) {
			return old
		}
	}
}
