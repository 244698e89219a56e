package nicrt

import (
	"encoding/binary"
	"testing"
)

// BenchmarkNICSend is an 8-byte message to a resident program on another NIC, sent and
// received on one thread.
func BenchmarkNICSend(b *testing.B) {
	for _, f := range testFabrics {
		b.Run(f.name, func(b *testing.B) {
			nics := openMesh(b, f, 2)
			got := 0
			install(b, nics[1], 9, Program{Name: "count", Resident: true, Header: func(*Task) Verdict { got++; return Process }})
			h, payload := Header{Program: 9}, make([]byte, 8)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 1; i <= b.N; i++ {
				nics[0].Lock()
				ok := nics[0].Send(1, &h, payload)
				nics[0].Unlock()
				for ok && got < i {
					nics[1].Lock()
					nics[1].Poll()
					nics[1].Unlock()
				}
				if !ok {
					b.Fatal("no room")
				}
			}
		})
	}
}

// BenchmarkNICPoll is a poll of a NIC that has nothing to do.
func BenchmarkNICPoll(b *testing.B) {
	idle := Program{Name: "idle", Header: func(*Task) Verdict { return Process }}
	for _, f := range testFabrics {
		for _, programs := range []string{"none", "isolated"} {
			b.Run(f.name+"/"+programs, func(b *testing.B) {
				nics := openMesh(b, f, 2)
				if programs == "isolated" {
					install(b, nics[0], 9, idle)
				}
				nics[0].Lock()
				defer nics[0].Unlock()
				nics[0].Again()
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					nics[0].Poll()
				}
			})
		}
	}
}

// BenchmarkNICAllreduce is an 8-byte sum of two NICs by one schedule, on one thread.
func BenchmarkNICAllreduce(b *testing.B) {
	for _, f := range testFabrics {
		b.Run(f.name, func(b *testing.B) {
			nics := openMesh(b, f, 2)
			var groups [2]*Group
			var plans [2]*Compiled
			var done [2]Completion
			var out [2][8]byte
			for i, n := range nics {
				n.Lock()
				g, err := n.Group(3, []int{0, 1}, i)
				n.Unlock()
				if err != nil {
					b.Fatal(err)
				}
				groups[i] = g
				if plans[i], err = Compile(exchangeSum(i)); err != nil {
					b.Fatal(err)
				}
			}
			in := make([]byte, 8)
			binary.LittleEndian.PutUint64(in, 1)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for i, n := range nics {
					n.Lock()
					if err := groups[i].Start(plans[i], in, out[i][:], addInts, &done[i]); err != nil {
						b.Fatal(err)
					}
					n.Unlock()
				}
				for i, n := range nics {
					n.Lock()
					for !done[i].Done() {
						n.Poll()
					}
					n.Unlock()
				}
			}
		})
	}
}
