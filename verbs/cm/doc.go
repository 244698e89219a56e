// Package cm sets up connections between queue pairs, in the manner of rdma_cm: one side listens, the other dials, and
// neither has to carry queue pair numbers to the other.
//
//	l, err := cm.Listen(dev, ":18515")  // one program
//	r, err := l.Accept(ctx)             // rdma_get_request
//	conn, err := r.Accept(ctx, params)
//
//	conn, err := cm.Dial(ctx, dev, "localhost:18515", params) // the other: conn.QP() is in RTS
//	err = conn.Close()                                        // and now in ERR, and destroyed
//
// Both ends exchange the management datagrams of the communication manager (IBTA volume 1, chapter 12) between the queue
// pairs 1 of their ports: REQ, REP and RTU connect, REJ refuses, DREQ and DREP disconnect, MRA asks for patience. They
// negotiate packet sequence numbers, the path MTU and the depths of READs and atomics, and carry private data.
// Datagrams can be lost, repeated or late, as on a faulty fabric: whoever asks repeats its message until it is answered or the
// retry limit is reached, and a repeated message gets its answer again.
//
// # Addresses
//
// A peer is named in one of two ways:
//
//   - "host:port", such as ":18515" and "localhost:18515": a name that holds on the whole machine, for one user. The listener holds
//     an abstract Unix socket, named by user and port, that tells its NIC's address; it vanishes with its process. The only hosts
//     are this one: empty, "localhost", a loopback address, or the host's own name.
//   - "NIC/port": the port at one NIC, by its [verbs.Context.Addr]. [At] writes it.
//
// Port 0 of a Listen is any free one. Ports are those of the TCP port space of rdma_cm: service ID 0x1060000 plus the port.
//
// # Events
//
// Where rdma_cm reports an event, a call returns: CONNECT_REQUEST is the return of [Listener.Accept], and REJECTED, UNREACHABLE
// and CONNECT_ERROR are errors of [Dial] and [Request.Accept]. What happens after that comes from [Conn.Events].
// Unlike rdma_cm, a peer that disconnects is answered at once, and the queue pair goes to ERR with it. And where the wire tells
// that the peer has died or has closed its queue pair, which InfiniBand cannot, that disconnects too.
//
// A NIC exchanges datagrams with at most 32 others at a time, besides itself: the next that dials gets no answer.
//
// There is no service ID resolution for datagrams (SIDR, the UDP port space), no multicast, and no migration of paths.
//
// # Inside
//
// [machine] is the state machine of all connections of a port: messages and readings of a clock go in, messages and
// events come out. An agent, one for each context that listens or is connected, is the goroutine that drives it; it ends with the
// last [Listener.Close] or [Conn.Close]. All methods may be called by any goroutine.
package cm
