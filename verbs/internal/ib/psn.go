package ib

// PSNMask is the largest packet sequence number, message sequence number or queue pair number: 24 bits.
const PSNMask = 1<<24 - 1

// PSNAdd gives the packet (or message) sequence number n after psn, or before it if n is negative, modulo 2^24.
func PSNAdd[N int | int32 | uint32](psn uint32, n N) uint32 {
	return (psn + uint32(n)) & PSNMask
}

// PSNDiff gives how far a is after b, modulo 2^24, as a number from -2^23 to 2^23-1: negative if a is before b (section
// 9.7: a half of the numbers are valid or new, the other half duplicates).
func PSNDiff(a, b uint32) int32 {
	return int32((a-b)<<8) >> 8
}
