// Package ring is the lane that carries packets one way between two ports: a
// ring of slots and a bulk area, both in memory of the receiver, with one
// sender and one receiver that share no lock.
//
// A slot is two cache lines: a word, the packet's header, and up to Inline bytes
// of payload. The word is written last. Its upper half is the packet's position
// plus one, so what an earlier lap left behind can't be taken for a packet; its
// lower half is the length of the payload. A payload of 32 bytes shares its cache line with
// the word and the header: such a packet moves one line from core to core.
// A larger payload lies in one piece in the bulk area, and the slot says where.
//
// A sender uses the beginning of the bulk area, the window, as a ring, and doubles the window after so many laps that
// the memory which a lane touches is a small part of what it has carried. A stream so gets a window that is larger
// than the caches of one core. In a smaller one the sender writes where the receiver has just read, which costs a message
// between the cores for each cache line, an order of magnitude more than the copy. The receiver learns how wide the window
// is from where payloads lie, and publishes a quarter of it at a time. In ordinary memory the window's second half is made
// when it is doubled.
//
// The receiver counts the packets that it has released in the control block. The
// sender looks there only when it believes the ring to be full, or when it is
// asked how far the receiver got. So the receiver stores the count in batches.
//
// A Ring is a view of such memory; a Sender and a Receiver are its two ends. The
// state word of the control block says who holds which end: a sender may come,
// send and go before the receiver opens the ring, and a ring is wiped for the next pair when
// both have left. The memory is shared with a process that may be
// broken or killed at any instruction: each index and each length read from it is checked.
package ring
