package collectives

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// Schedules as they are printed. A block's command is the kind; its arguments
// are fields of the Spec. Run with -rewrite to accept what has changed.
func TestTranscripts(t *testing.T) {
	datadriven.RunTest(t, "testdata/schedules", func(t *testing.T, d *datadriven.TestData) string {
		s := Spec{Elem: 8, Commutative: true}
		for s.Kind = Barrier; s.Kind < kinds && s.Kind.String() != d.Cmd; s.Kind++ {
		}
		d.MaybeScanArgs(t, "n", &s.N)
		d.MaybeScanArgs(t, "self", &s.Self)
		d.MaybeScanArgs(t, "root", &s.Root)
		d.MaybeScanArgs(t, "count", &s.Count)
		d.MaybeScanArgs(t, "algorithm", &s.Algorithm)
		s.InPlace = d.HasArg("in-place")
		s.Commutative = !d.HasArg("ordered")
		schedule, err := Plan(s)
		if err != nil {
			return fmt.Sprintln(err)
		}
		return schedule.String()
	})
}
