package nicrt

import (
	"reflect"
	"testing"
	"time"
)

// ofNIC are the counts that no single program has.
var ofNIC = map[string]bool{"Full": true, "Reads": true, "BytesRead": true, "Runs": true, "Ops": true, "FailedRuns": true, "Early": true,
	"Spilled": true, "EarlyBytes": true, "Triggered": true, "FailedTriggered": true}

// TestAccountAdds makes sure that no count is forgotten when accounts are added.
func TestAccountAdds(t *testing.T) {
	var a, b Account
	va, vb := reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()
	for i := range vb.NumField() {
		switch f := vb.Field(i); f.Kind() {
		case reflect.Uint64:
			va.Field(i).SetUint(1)
			f.SetUint(uint64(100 + i))
		case reflect.Int64:
			va.Field(i).SetInt(1)
			f.SetInt(int64(100 + i))
		case reflect.Int:
			f.SetInt(int64(100 + i))
		default:
			t.Fatalf("%s has kind %v", vb.Type().Field(i).Name, f.Kind())
		}
	}
	a.add(&b)
	for i := range va.NumField() {
		name, want := va.Type().Field(i).Name, int64(101+i)
		switch f := va.Field(i); {
		case f.Kind() == reflect.Int:
			if f.Int() != 0 {
				t.Errorf("level %s was added", name)
			}
			continue
		case ofNIC[name]:
			want = 1
			fallthrough
		default:
			got := int64(0)
			if f.Kind() == reflect.Uint64 {
				got = int64(f.Uint())
			} else {
				got = f.Int()
			}
			if got != want {
				t.Errorf("%s is %d, want %d", name, got, want)
			}
		}
	}
}

// TestAccountOfNIC compares accounts with what was done.
func TestAccountOfNIC(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		host := make([]byte, 64)
		region, err := nics[1].Register(host, HostRead|HostWrite)
		if err != nil {
			t.Fatal(err)
		}
		in := install(t, nics[1], 9, Program{Name: "work", Memory: 64, Payload: func(t *Task) Verdict {
			n := min(len(t.Payload()), 64)
			t.WriteHost(region, 0, t.Payload()[:n])
			t.ReadHost(region, 0, t.Memory()[:8])
			t.AddMatches(2)
			t.AddReduced(24)
			time.Sleep(time.Microsecond)
			return Process
		}, Completion: func(t *Task) { t.Send(t.Peer(), Header{Program: 200}, []byte("abc")); t.Notify(1) }})
		payload := make([]byte, nics[0].EagerMax()+100) // two packets
		done := mustPost(t, nics[0], 1, Header{Program: 9}, payload)
		runUntil(t, nics, "everything", func() bool { return done.Done() && in.Events().Len() == 1 && nics[0].Account().Unknown == 1 })

		sender, receiver, program := nics[0].Account(), nics[1].Account(), in.Account()
		check := func(name string, got, want uint64) {
			t.Helper()
			if got != want {
				t.Errorf("%s is %d, want %d", name, got, want)
			}
		}
		check("Sends of the sender", sender.Sends, 1)
		check("BytesSent of the sender", sender.BytesSent, uint64(len(payload)))
		check("Unknown of the sender", sender.Unknown, 1)
		check("DroppedBytes of the sender", sender.DroppedBytes, 3)
		for who, a := range map[string]Account{"NIC: ": receiver, "program: ": program} {
			check(who+"Sends", a.Sends, 1)
			check(who+"BytesSent", a.BytesSent, 3)
			check(who+"Packets", a.Packets, 2)
			check(who+"Messages", a.Messages, 1)
			check(who+"Bytes", a.Bytes, uint64(len(payload)))
			check(who+"Payloads", a.Payloads, 2)
			check(who+"Completions", a.Completions, 1)
			check(who+"BytesToHost", a.BytesToHost, 64+64)
			check(who+"BytesFromHost", a.BytesFromHost, 16)
			check(who+"Matches", a.Matches, 4)
			check(who+"BytesReduced", a.BytesReduced, 48)
			check(who+"Notifications", a.Notifications, 1)
			if a.HandlerTime <= 0 || a.MemoryUsed < 64 || a.MemoryPeak < a.MemoryUsed || a.MemorySize != defaultNICMemory {
				t.Errorf("%stime %v, memory %d of %d, at most %d", who, a.HandlerTime, a.MemoryUsed, a.MemorySize, a.MemoryPeak)
			}
		}
	})
}
