package cm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/internal/ib"
)

// only admits the datagrams that carry a message, which lies at the end of a packet.
func only(attr ib.AttributeID) func(*fabric.Header, []byte) bool {
	return func(_ *fabric.Header, p []byte) bool {
		at := len(p) - ib.MADLen - ib.ICRCLen
		return at > 0 && p[at+1] == ib.ClassCM && binary.BigEndian.Uint16(p[at+16:]) == uint16(attr)
	}
}

func hitting(attr ib.AttributeID, inj faulty.Injector) wire {
	return wire{open: lossy(openInproc, faulty.Options{Inject: inj, Only: only(attr)})}
}

// TestLostMessages does harm to the first of each message, or the first three: the connection comes up, and ends, all the same.
func TestLostMessages(t *testing.T) {
	for _, attr := range []ib.AttributeID{ib.AttrREQ, ib.AttrREP, ib.AttrRTU, ib.AttrDREQ, ib.AttrDREP, ib.AttrMRA, ib.AttrREJ} {
		for _, fault := range []faulty.Fault{faulty.Drop, faulty.Duplicate, faulty.Duplicate.By(200 * time.Millisecond), faulty.Delay.By(200 * time.Millisecond), faulty.Corrupt} {
			for _, n := range []int{1, 3} {
				if n == 1 && fault != faulty.Drop {
					continue
				}
				t.Run(fmt.Sprintf("%v of %d %v", fault, n, attr), func(t *testing.T) {
					t.Parallel()
					var some []faulty.Injector
					for i := range n {
						some = append(some, faulty.OnIndex(uint64(i), fault))
					}
					w := hitting(attr, faulty.Any(some...))
					a, b := newNode(t, w), newNode(t, w)
					l := local(t, b)
					if attr == ib.AttrREJ || attr == ib.AttrMRA {
						refuse(t, a, b, l)
					}
					ca, cb := connect(t, a, b, l)
					speak(t, a, b, ca, cb, "up")
					must(t, ca.Disconnect())
					for _, c := range []*Conn{ca, cb} {
						wantEvent(t, c, Established)
						wantEvent(t, c, Disconnected)
					}
				})
			}
		}
	}
}

// refuse has b refuse a, late.
func refuse(t *testing.T, a, b *node, l *Listener) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		r, err := l.Accept(soon(t))
		if err == nil {
			time.Sleep(300 * time.Millisecond)
			err = r.Reject([]byte("no"))
		}
		done <- err
	}()
	_, err := Dial(soon(t), a.dev, l.Addr(), a.params())
	var rej *RejectedError
	if !errors.As(err, &rej) || rej.Reason != ConsumerReject {
		t.Errorf("got %v, want a rejection", err)
	}
	must(t, <-done)
}

// TestAllLost loses all of one message: each end gets an error that says so, in time, and keeps no queue pair.
func TestAllLost(t *testing.T) {
	all := faulty.Rate(1, 1, faulty.Drop)
	for _, attr := range []ib.AttributeID{ib.AttrREQ, ib.AttrREP, ib.AttrRTU} {
		t.Run(attr.String(), func(t *testing.T) {
			t.Parallel()
			w := hitting(attr, all)
			a, b := newNode(t, w), newNode(t, w)
			l := local(t, b)
			accepted := make(chan error, 1)
			go func() {
				r, err := l.Accept(soon(t))
				if err == nil {
					_, err = r.Accept(soon(t), b.params())
				}
				accepted <- err
			}()
			c, err := Dial(soon(t), a.dev, l.Addr(), a.params())
			if attr == ib.AttrRTU { // this end heard the REP, and learns from the other that that gave up
				must(t, err)
				wantEvent(t, c, Established)
				if ev := wantEvent(t, c, Disconnected); ev.Err == nil {
					t.Error("disconnected without a reason")
				}
				must(t, c.Close())
			} else if !errors.Is(err, ErrTimeout) {
				t.Errorf("Dial: %v, want ErrTimeout", err)
			}
			if attr == ib.AttrREQ {
				must(t, l.Close())
			}
			var rej *RejectedError
			if err := <-accepted; !errors.Is(err, ErrTimeout) && !errors.As(err, &rej) && !(attr == ib.AttrREQ && errors.Is(err, ErrClosed)) {
				t.Errorf("Accept: %v, want ErrTimeout, or that the peer has given up", err)
			}
			must(t, errors.Join(a.cq.Destroy(), b.cq.Destroy()))
		})
	}
	t.Run("DREP", func(t *testing.T) {
		t.Parallel()
		w := hitting(ib.AttrDREP, all)
		a, b := newNode(t, w), newNode(t, w)
		ca, cb := connect(t, a, b, local(t, b))
		if err := ca.Disconnect(); !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		wantEvent(t, cb, Established)
		wantEvent(t, cb, Disconnected)
	})
}

// TestHostileMADs throws random datagrams, and good ones with random contents, at a port that has a connection and a listener:
// both stay usable.
func TestHostileMADs(t *testing.T) {
	w := wire{open: openShm}
	a, b, evil := newNode(t, w), newNode(t, w), newNode(t, w)
	l := local(t, b)
	ca, cb := connect(t, a, b, l)
	luck := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		var b256 [ib.MADLen]byte
		for j := range b256 {
			b256[j] = byte(luck.Uint32())
		}
		if i%4 != 0 {
			mad := ib.MAD{Class: ib.ClassCM, ClassVersion: 2, Method: ib.MethodSend, Attr: ib.AttrREQ + ib.AttributeID(luck.IntN(8)), Data: [ib.MADLen - ib.MADHeaderLen]byte(b256[ib.MADHeaderLen:])}
			if i%3 == 0 { // the right IDs, from the wrong port
				binary.BigEndian.PutUint32(mad.Data[:], ca.x.id)
				binary.BigEndian.PutUint32(mad.Data[4:], cb.x.id)
			}
			mad.Append(b256[:0])
		}
		if err := evil.dev.SendMAD(b.dev.Addr(), b256[:]); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	speak(t, a, b, ca, cb, "still up")
	c2, d2 := connect(t, a, b, l)
	speak(t, a, b, c2, d2, "and another")
}

// TestHostileREQ has a REQ ask for what no QP can have: the connection is refused or adjusted, and nothing breaks.
func TestHostileREQ(t *testing.T) {
	w := wire{open: openShm}
	b, evil := newNode(t, w), newNode(t, w)
	l := local(t, b)
	src, dst := ib.GIDOf(evil.dev.Addr()), ib.GIDOf(b.dev.Addr())
	r := &ib.REQ{LocalCommID: 1, ServiceID: serviceID(l.Port()), LocalQPN: ib.PSNMask, StartingPSN: ib.PSNMask, ResponderResources: 255, InitiatorDepth: 255,
		LocalCMTimeout: 31, RemoteCMTimeout: 31, RetryCount: 7, RNRRetryCount: 7, MaxCMRetries: 15, MTU: 1,
		Primary: ib.Path{LocalGID: src, RemoteGID: dst, AckTimeout: 31}}
	copy(r.PrivateData[:], appendHeader(nil, math.MaxUint16, src, dst))
	must(t, evil.dev.SendMAD(b.dev.Addr(), ib.NewCM(1, r).Append(nil)))
	req, err := l.Accept(soon(t))
	must(t, err)
	if _, err := req.Accept(soon(t), b.params()); err == nil {
		t.Error("connected with a queue pair that cannot be")
	}
	must(t, b.cq.Destroy())
}
