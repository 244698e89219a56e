// Package verbs is RDMA over an emulated network interface: the objects, states, rules and completion statuses of
// libibverbs, over the fabrics of package fabric. Package verbs/cm sets up connections.
//
// A [Context] is an open device, which is one NIC, on a port of a fabric: [Device.Open] takes one that joins all contexts of the process,
// [Open] with shm.Open one that reaches the processes of the machine, and faulty.Wrap makes either bad. Contexts of two fabrics do not
// reach each other. From it come protection domains ([PD]), memory regions ([MR]) and windows
// ([MW]), completion queues ([CQ]) and their channels ([CompChannel]), shared receive queues ([SRQ], also tag-matching ones,
// see [TMInit]), address handles ([AH]), counters ([Counter]) and queue pairs ([QP]) of the services RC, UC and UD. Two queue pairs are
// connected by exchanging, by any means, the address of the context ([Context.Addr]) and the number of the queue pair
// ([QP.QPN]), and by taking each of them through INIT and RTR to RTS with [QP.Modify].
//
// # How a work request flows
//
// [QP.PostSend], or a [WRBuilder], checks the request, copies it into the send queue and runs the queue pair on the caller's
// thread. What then goes on the wire depends on the wire:
//
//   - On one that is ordered and reliable, RC needs no packets of its own to be so. A SEND goes as soon as the peer has a receive for
//     it; taking it is the acknowledgement. An RDMA WRITE, READ or atomic is executed by the requester itself,
//     in the peer's memory, where the fabric reaches it; else the peer's NIC executes it.
//   - On any other, and always for UC and UD, with a shared receive queue, with a counter of what the peer does, with
//     [Options.Packets] or [Options.Trace], and with a peer that does so, the queue pair talks in IBTA packets, as RoCEv2 has them: packet sequence numbers, acknowledgements, RNR NAKs, timers
//     and retransmission. [Options.Trace] shows them to Wireshark.
//
// The effects, completions and errors are the same either way. The peer's NIC takes a packet when somebody runs it ([CQ.Poll],
// [CQ.Wait], any post, or its progress goroutine while the host computes), puts the data into the buffers of the oldest
// receive and completes it.
//
// A request that fails takes the queue pair to ERR, or on UC and UD to SQE: it completes with the [Status] that says why, and
// everything posted after it with WRFlushErr. The peer's queue pair goes to ERR too where IBTA says so (9.9.3.1, class C): it
// refused the request, and gets an [AsyncEvent]. The way out of ERR is RESET.
//
// Order is that of IBTA 10.8.3.3. A request is executed by the peer after those posted before it, except that what is
// posted after a READ or an atomic may overtake it unless it carries [Fence]; later READs do not.
//
// # What the caller owes
//
//  1. Post receives before the peer sends, or let it retry: RNR_RETRY 7 is for ever. On UD, [GRHLen] bytes longer than the datagram:
//     what does not fit is lost, and counted in [HWCounters].
//  2. Leave buffers alone from posting to completion, unless the request is [Inline].
//  3. Make a completion queue as large as the work that can be outstanding in it: if it overflows, its queue pairs fail.
//  4. Post a signaled request now and then, and take its completion: only that tells that entries are free.
//  5. Exchange keys and addresses before one-sided operations, and [MR.Dereg] a region only when no peer needs it.
//  6. Give TIMEOUT and RETRY_CNT what the peer's host may take to be scheduled: its processor runs the peer's NIC. Without packets of
//     their own, queue pairs wait for a peer that is stopped but there, as for one whose NIC a real host would not stop.
//  7. [Context.Close] the context at the end.
//
// All methods may be called by any goroutine. One lock for each context serialises them.
//
// # Work that the NIC goes on with by itself
//
// A [Counter] counts completions of queue pairs. A [WaitCounter] request holds a send queue until a counter has reached a
// threshold, and a [SendEnable] lets a managed queue go on: chains of messages that answer each other while no host takes
// part (CORE-Direct). A host that serves many event sources selects on [CompChannel.C] and [Context.Events].
//
// # For a runtime on the NIC
//
// [Engine] and [Sink] are the NIC's own side: messages go to a handler packet by packet instead of to receives, and
// are sent without a completion.
//
// # Where to read
//
// The send queue is in sendqueue.go and requester.go, what comes in in inbound.go and responder.go, what completes in finish.go;
// direct.go and lone.go reach into the peer's memory. The files wire*.go are the transport of IBTA packets, datagram.go and lanes.go
// that of UD. Files named qp, pd, mr, mw, cq, srq, tm, ah and counter are the objects, wr, opcode and wc requests and completions.
package verbs
