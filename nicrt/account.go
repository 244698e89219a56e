package nicrt

import "time"

// An Account says what a NIC, or one program on it, has done since it was
// made. Counts only grow; the memory fields are levels. It is a copy: the
// fields belong together, to one moment between two steps of the NIC.
type Account struct {
	Headers     uint64 // header handlers run
	Payloads    uint64 // payload handlers run
	Completions uint64 // completion handlers run

	Packets  uint64 // packets taken from the wire
	Messages uint64 // messages begun
	Bytes    uint64 // payload bytes of those packets

	Sends          uint64 // messages sent by handlers
	BytesSent      uint64 // their payload bytes
	BytesToHost    uint64 // written to host memory by DMA
	BytesFromHost  uint64 // read from host memory by DMA
	BytesReduced   uint64 // combined by arithmetic, as the programs report it
	Reads          uint64 // reads from peers' memory
	BytesRead      uint64 // bytes they asked for
	Runs           uint64 // schedules run to their end
	Ops            uint64 // their operations
	Matches        uint64 // matches made, as the programs report it
	Increments     uint64 // counting events incremented by handlers
	Notifications  uint64 // events given to the host
	LostEvents     uint64 // events that found the host's queue full
	Refused        uint64 // packets left on the wire for want of room
	DroppedPackets uint64 // packets dropped: by verdict, for a stopped program, or malformed
	DroppedBytes   uint64 // their payload bytes
	Dropped        uint64 // messages of which nothing more was processed: by verdict or by a stop
	Failed         uint64 // messages that a handler or a lost peer failed
	Strays         uint64 // packets that belong to no message, included in DroppedPackets
	Unknown        uint64 // messages for a program that is not there, included in DroppedPackets
	Faults         uint64 // handlers that panicked, overran or broke a rule
	Stopped        uint64 // programs stopped by a fault

	HandlerTime time.Duration // time in handlers, but for those of resident programs without a budget

	MemorySize       int // bytes of NIC memory
	MemoryUsed       int // bytes of it in use; of one program: its own
	MemoryPeak       int // largest MemoryUsed so far
	PacketMemoryUsed int // bytes that hold packets, within the part of MemoryUsed set apart for them
	PacketMemoryPeak int // largest PacketMemoryUsed so far
}

// add adds the counts of b to a. Levels are left alone.
func (a *Account) add(b *Account) {
	a.Headers += b.Headers
	a.Payloads += b.Payloads
	a.Completions += b.Completions
	a.Packets += b.Packets
	a.Messages += b.Messages
	a.Bytes += b.Bytes
	a.Sends += b.Sends
	a.BytesSent += b.BytesSent
	a.BytesToHost += b.BytesToHost
	a.BytesFromHost += b.BytesFromHost
	a.BytesReduced += b.BytesReduced
	a.Matches += b.Matches
	a.Increments += b.Increments
	a.Notifications += b.Notifications
	a.LostEvents += b.LostEvents
	a.Refused += b.Refused
	a.DroppedPackets += b.DroppedPackets
	a.DroppedBytes += b.DroppedBytes
	a.Dropped += b.Dropped
	a.Failed += b.Failed
	a.Strays += b.Strays
	a.Unknown += b.Unknown
	a.Faults += b.Faults
	a.Stopped += b.Stopped
	a.HandlerTime += b.HandlerTime
}

// started counts one handler as run.
func (a *Account) started(kind HandlerKind) {
	switch kind {
	case HeaderHandler:
		a.Headers++
	case PayloadHandler:
		a.Payloads++
	case CompletionHandler:
		a.Completions++
	}
}

// drop counts one packet as dropped.
func (a *Account) drop(bytes int) {
	a.DroppedPackets++
	a.DroppedBytes += uint64(bytes)
}

// countLost counts the packet p, the first of a message whose header handler
// ended its program.
func (a *Account) countLost(p *packet) {
	a.Packets++
	a.Messages++
	a.Bytes += uint64(len(p.payload))
	a.drop(len(p.payload))
}

// account returns the account of the whole NIC: of its programs, of those that
// are gone, and of what belongs to none.
func (m *machine) account() Account {
	sum := m.common
	for _, in := range m.programs {
		if in != nil {
			in.addTo(&sum)
		}
	}
	for _, in := range m.leaving {
		in.addTo(&sum)
	}
	sum.MemorySize = m.memory.size()
	sum.MemoryUsed, sum.MemoryPeak = m.memory.used, m.memory.peak
	if m.packets != nil {
		sum.PacketMemoryUsed = m.packets.used
	}
	sum.PacketMemoryPeak = m.packetPeak()
	return sum
}

// addTo adds what the program has done to a.
func (in *Installed) addTo(a *Account) {
	a.add(&in.account)
	a.Matches += in.tally.matches
	a.BytesReduced += in.tally.reduced
}
