package nicrt

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestHostMemory has programs read and write host memory, as its rights allow and as long as it is registered.
func TestHostMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		rights Rights
		size   int
		gone   bool // deregistered before
		do     func(*Task, HostMemory)
		fault  string // empty: none
	}{
		{"write", HostWrite, 16, false, func(t *Task, m HostMemory) { t.WriteHost(m, 4, t.Payload()) }, ""},
		{"read", HostRead, 16, false, func(t *Task, m HostMemory) { t.ReadHost(m, 4, t.Memory()) }, ""},
		{"both", HostRead | HostWrite, 16, false, func(t *Task, m HostMemory) {
			t.WriteHost(m, 4, t.Payload())
			t.ReadHost(m, 4, t.Memory())
		}, ""},
		{"nothing at the end", HostWrite, 16, false, func(t *Task, m HostMemory) { t.WriteHost(m, 16, nil) }, ""},
		{"nothing of nothing", HostWrite, 0, false, func(t *Task, m HostMemory) { t.WriteHost(m, 0, nil) }, ""},
		{"write to read-only", HostRead, 16, false, func(t *Task, m HostMemory) { t.WriteHost(m, 0, t.Payload()) }, "no right to write"},
		{"read of write-only", HostWrite, 16, false, func(t *Task, m HostMemory) { t.ReadHost(m, 0, t.Memory()) }, "no right to read"},
		{"write past the end", HostWrite, 16, false, func(t *Task, m HostMemory) { t.WriteHost(m, 9, t.Payload()) }, "outside the region"},
		{"offset that overflows", HostWrite, 16, false, func(t *Task, m HostMemory) { t.WriteHost(m, 1<<64-4, t.Payload()) }, "outside the region"},
		{"withdrawn", HostWrite, 16, true, func(t *Task, m HostMemory) { t.WriteHost(m, 0, t.Payload()) }, "no longer registered"},
		{"nil region", HostWrite, 16, false, func(t *Task, _ HostMemory) { t.WriteHost((*HostRegion)(nil), 0, t.Payload()) }, "no region"},
	} {
		for _, kind := range []string{"resident", "isolated"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				n := openMesh(t, testFabrics[0], 1)[0]
				host := make([]byte, c.size)
				region, err := n.Register(host, c.rights)
				if err != nil {
					t.Fatal(err)
				}
				if region.Len() != c.size {
					t.Errorf("length %d, want %d", region.Len(), c.size)
				}
				if c.gone {
					if err := region.Deregister(); err != nil {
						t.Fatal(err)
					}
				}
				in := install(t, n, 9, Program{Name: "dma", Resident: kind == "resident", Memory: 8, Header: func(t *Task) Verdict {
					c.do(t, region)
					t.Wait()
					t.Notify(uint64(t.Memory()[0]))
					return Process
				}})
				mustPost(t, n, 0, Header{Program: 9}, []byte("12345678"))
				e := event(t, n, in)
				var dma *DMAError
				switch {
				case c.fault == "" && e.Kind != EventNotify:
					t.Fatalf("event %+v, fault %v", e, e.Fault)
				case c.fault != "" && (!errors.As(in.Err(), &dma) || !strings.Contains(dma.Error(), c.fault)):
					t.Fatalf("fault %v, want one with %q", in.Err(), c.fault)
				case c.name == "write" && string(host[4:12]) != "12345678":
					t.Errorf("host memory is %q", host)
				case c.name == "both" && e.Value != '1':
					t.Errorf("read %q back", rune(e.Value))
				}
			})
		}
	}
}

// TestSteerToHostMemory has the NIC place messages of several packets.
func TestSteerToHostMemory(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		payload := randomBytes(3*nics[0].EagerMax()+5, 5)
		host := make([]byte, len(payload)+8)
		region, err := nics[1].Register(host, HostWrite)
		if err != nil {
			t.Fatal(err)
		}
		in := install(t, nics[1], 9, Program{Name: "steer",
			Header:     func(t *Task) Verdict { t.Steer(region, 8); return Proceed },
			Completion: func(t *Task) { t.Notify(t.Dropped()) }})
		done := mustPost(t, nics[0], 1, Header{Program: 9}, payload)
		runUntil(t, nics, "the message", func() bool { return done.Done() && in.Events().Len() > 0 })
		if e, _ := in.Events().Poll(); e.Kind != EventNotify || e.Value != 0 || !bytes.Equal(host[8:], payload) {
			t.Errorf("event %+v, %v of the bytes in place", e, bytes.Equal(host[8:], payload))
		}
		if err := region.Deregister(); err != nil {
			t.Error(err)
		}
		wantArgument(t, region.Deregister(), "deregistered")
		locked(nics[1], func() { clear(host) })
		done = mustPost(t, nics[0], 1, Header{Program: 9}, payload)
		runUntil(t, nics, "the message", func() bool { return done.Done() && in.Events().Len() > 0 })
		if e, _ := in.Events().Poll(); e.Value != uint64(len(payload)) || !bytes.Equal(host, make([]byte, len(host))) {
			t.Errorf("event %+v after the region was taken back; want all bytes dropped", e)
		}
	})
}
