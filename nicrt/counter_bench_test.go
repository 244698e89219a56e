package nicrt

import "testing"

// BenchmarkCounter is one increment of a counter: by itself, and with what it releases.
func BenchmarkCounter(b *testing.B) {
	for _, c := range []struct {
		name string
		arm  func(u *counterUnit, c, other Counter)
	}{
		{"alone", func(*counterUnit, Counter, Counter) {}},
		{"below a threshold", func(u *counterUnit, c, _ Counter) {
			mustArm(b, u, Triggered{Counter: c, Threshold: 1 << 62, Kind: TriggerCall, Call: func() error { return nil }})
		}},
		{"chain of three", func(u *counterUnit, c, other Counter) {
			one := CounterValue{Success: 1}
			mustArm(b, u, Triggered{Counter: c, Threshold: 1, Persistent: true, Kind: TriggerIncrement, Target: c, Value: Negative(1)})
			mustArm(b, u, Triggered{Counter: c, Threshold: 1, Persistent: true, Kind: TriggerIncrement, Target: other, Value: one})
			mustArm(b, u, Triggered{Counter: other, Threshold: 1, Persistent: true, Kind: TriggerIncrement, Target: other, Value: Negative(1)})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			u := newCounterUnit(counterConfig{})
			x, y := mustCounter(b, u), mustCounter(b, u)
			c.arm(u, x, y)
			b.ReportAllocs()
			for b.Loop() {
				if err := u.increment(x, CounterValue{Success: 1}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
