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

	// Sends and BytesSent are the messages, and their payload bytes, that the
	// program's handlers sent by Task.Send; of a NIC, all that it sent: for handlers,
	// for schedules and triggered operations, by Send and by Post.
	Sends     uint64
	BytesSent uint64
	Full      uint64 // times that the wire had no room for a message; of a NIC only

	BytesToHost   uint64 // written to host memory by DMA
	BytesFromHost uint64 // read from host memory by DMA
	Reads         uint64 // reads from peers' memory; of a NIC only
	BytesRead     uint64 // bytes they asked for; of a NIC only

	BytesReduced uint64 // combined by arithmetic: by schedules, triggered operations, and as the programs report it
	Matches      uint64 // matches made, as the programs report it

	Runs       uint64 // rounds of schedules run to their end; of a NIC only, as are the next five
	Ops        uint64 // their operations
	FailedRuns uint64 // runs of schedules that ended in an error
	Early      uint64 // messages of schedules that came before their operation was ready, and were kept
	Spilled    uint64 // times that the kept ones outgrew their part of NIC memory and took the host's
	EarlyBytes uint64 // bytes of memory that they took at the most

	Increments      uint64 // changes of counters: by the program's handlers; of a NIC, all
	Triggered       uint64 // triggered operations released; of a NIC only
	FailedTriggered uint64 // of these those that could not be done; of a NIC only

	Notifications  uint64 // events given to the host
	LostEvents     uint64 // events that found the host's queue full
	Refused        uint64 // packets left on the wire for want of room, each time
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

// add adds the counts of programs in b to a. What is of a NIC only, and levels, are left alone.
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
