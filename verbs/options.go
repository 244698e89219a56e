package verbs

import (
	"io"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/internal/trace"
)

// Options adjust a device. The zero value is the default.
type Options struct {
	// Packets has the queue pairs talk in IBTA packets, with sequence numbers, acknowledgements and retransmission, also
	// where the wire is ordered and reliable and one-sided operations could reach the peer's memory: as a real NIC, and
	// slower. A wire that is not ordered and reliable, and a trace, do so anyway. The peer follows.
	Packets bool
	// Trace, if set, gets every packet that this NIC sends or receives, as a pcapng file with RoCEv2 framing, which Wireshark
	// reads. It belongs to the context until Close, which flushes but does not close it; its first error is returned there, or by OpenWith if
	// it does not take the file's header. No environment variable sets it: a trace changes what queue pairs do, and those of a
	// NIC-resident runtime need a wire without.
	//
	// Trace has the header once OpenWith returns, what is traced when the NIC goes to sleep, and in any case each packet
	// within about 100 ms, if the process gets to run. So a program that never reaches Close, because it is killed or exits, loses at most that much.
	// Each Write ends with a whole packet: if Trace does not buffer, such as an *os.File, the file is readable at any time.
	//
	// Wireshark guesses what SENDs carry, and may take short ones for RPC over RDMA or Ethernet over InfiniBand and call
	// them malformed. Tell it not to: disable the protocols rpcordma and infiniband.eoib (tshark --disable-protocol rpcordma
	// --disable-protocol infiniband.eoib; in Wireshark, Analyze, Enabled Protocols).
	Trace io.Writer
}

// OpenWith opens the emulated device on a port of any fabric. The context owns the port from then on and closes it.
func OpenWith(port fabric.Port, o Options) (*Context, error) {
	a := port.Attr()
	if a.MTU < minMTU {
		return nil, opErr("open_device", Emulated, ErrInvalid, "fabric %s carries %d bytes a packet: expected at least %d",
			a.Name, a.MTU, minMTU)
	}
	packets := o.Packets || o.Trace != nil || !a.Ordered || !a.Reliable
	if packets && packetMTU(a.MTU) == 0 {
		return nil, opErr("open_device", Emulated, ErrInvalid,
			"fabric %s carries %d bytes a packet: expected at least %d, for IBTA packets with their headers", a.Name, a.MTU, minMTU+packetHeaders)
	}
	var w *trace.Writer
	if o.Trace != nil {
		var err error
		if w, err = trace.New(o.Trace, Emulated); err != nil {
			return nil, &Error{Op: "open_device", Object: Emulated, Detail: "trace", Err: err}
		}
	}
	return newContext(port, packets, w), nil
}

// traced records a packet that this NIC has sent or received.
func (c *Context) traced(p []byte) {
	if c.trace != nil {
		_ = c.trace.Packet(c.now(), p) // kept for Close
	}
}

// flushTrace gives the trace to its writer before the NIC sleeps. The caller does not hold the NIC's lock, which a slow writer
// would keep.
func (c *Context) flushTrace() {
	if c.trace != nil {
		_ = c.trace.Flush() // kept for Close
	}
}

// flushStaleTrace does so where nobody sleeps, now and then.
func (c *Context) flushStaleTrace() {
	if c.trace != nil {
		_ = c.trace.FlushStale(time.Now()) // kept for Close
	}
}
