// Package inproc is the fabric within one process: each port is an object on the Go heap, and
// ports of one Switch reach each other.
//
// It is the same ring and the same rules as between processes, without a kernel: a
// sleeping port parks its goroutine, and one-sided operations are plain copies. Rings take memory when
// they are first used, so that a thousand ports are cheap.
package inproc
