// Package ib holds the packet formats of InfiniBand as RoCEv2 carries them, and those of the communication manager.
//
// A packet in memory is what follows the Ethernet header on a wire, less the UDP header, of which all is known:
//
//	IPv6 header (40) | BTH (12) | extended headers | payload | pad (0 to 3) | ICRC (4)
//
// The IPv6 header is also the GRH that a UD receive delivers. To send, [Header.Append] the headers, append the payload,
// and [Seal] the whole. To receive, [Header.Parse]: what it accepts is well formed to the last bit that the standard
// assigns, and reserved bits are ignored, as IBTA volume 1 section 9.2 demands. None of the three allocates, unless the
// caller's slice has to grow or a packet is refused.
//
// [MAD] and the [CMMessage] types are the payload of the datagrams to queue pair 1 by which connections are made.
//
// Everything here is a pure function of its arguments: any goroutine may call it, and a Header belongs to its caller.
// Numbers are in the host's order in structures and big-endian in packets, except the ICRC. Sections are those of
// IBTA volume 1 release 1.4, and annex A17 (RoCEv2).
package ib
