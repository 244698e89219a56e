package collectives

import "outboard/nicrt"

// cut divides a buffer of count elements into parts of nearly equal size: they
// differ by one element at most, the longer ones first.
type cut struct {
	count, elem, parts int
}

// at gives the byte at which part i begins; part i+1 begins where i ends.
func (c cut) at(i int) int {
	each, more := c.count/c.parts, c.count%c.parts
	return (i*each + min(i, more)) * c.elem
}

// of gives the bytes of parts lo to hi-1 of a buffer that lies in sp.
func (c cut) of(sp nicrt.Span, lo, hi int) nicrt.Span {
	return part(sp, c.at(lo), c.at(hi)-c.at(lo))
}
