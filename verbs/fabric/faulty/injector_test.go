package faulty_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
)

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		inj  faulty.Injector
		ep   int
		want string // the first letter of each packet's fault, - for none
	}{
		"index":         {faulty.OnIndex(2, faulty.Drop), 0, "--D-------"},
		"every":         {faulty.Every(3, faulty.Corrupt), 0, "--C--C--C-"},
		"every 1":       {faulty.Every(1, faulty.Reorder), 0, "RRRRRRRRRR"},
		"every 0":       {faulty.Every(0, faulty.Reorder), 0, "----------"},
		"never":         {faulty.Rate(1, 0, faulty.Drop), 0, "----------"},
		"always":        {faulty.Rate(1, 1, faulty.Drop), 0, "DDDDDDDDDD"},
		"below 0":       {faulty.Rate(1, -1, faulty.Drop), 0, "----------"},
		"above 1":       {faulty.Rate(1, 5, faulty.Drop), 0, "DDDDDDDDDD"},
		"no number":     {faulty.Rate(1, math.NaN(), faulty.Drop), 0, "----------"},
		"endpoint":      {faulty.ForEndpoint(4, faulty.Every(2, faulty.Cut)), 4, "-C-C-C-C-C"},
		"other":         {faulty.ForEndpoint(4, faulty.Every(2, faulty.Cut)), 5, "----------"},
		"endpoint, nil": {faulty.ForEndpoint(4, nil), 4, "----------"},
		"any of none":   {faulty.Any(), 0, "----------"},
		"any": {
			faulty.Any(nil, faulty.Every(4, faulty.Drop), nil, faulty.Every(2, faulty.Reorder), faulty.OnIndex(3, faulty.Cut)), 0,
			"-R-D-R-D-R",
		},
		"none hides nothing": {faulty.Any(faulty.Every(1, faulty.None), faulty.OnIndex(1, faulty.Cut)), 0, "-C--------"},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for i := range uint64(len(tt.want)) {
				f := tt.inj.Judge(faulty.Packet{Endpoint: tt.ep, Index: i})
				if f == faulty.None {
					got.WriteByte('-')
				} else {
					got.WriteByte(f.String()[0])
				}
			}
			if got.String() != tt.want {
				t.Errorf("%v: %s, want %s", tt.inj, got.String(), tt.want)
			}
		})
	}
}

// A rate is met on each endpoint, and the draws of seeds, endpoints and faults are independent.
func TestRate(t *testing.T) {
	const n = 20000
	hits := func(inj faulty.Injector, ep int) (set []bool, count int) {
		for i := range uint64(n) {
			hit := inj.Judge(faulty.Packet{Endpoint: ep, Index: i}) != faulty.None
			if set = append(set, hit); hit {
				count++
			}
		}
		return set, count
	}
	base, _ := hits(faulty.Rate(7, 0.5, faulty.Drop), 3)
	for name, other := range map[string]struct {
		inj faulty.Injector
		ep  int
	}{
		"seed":     {faulty.Rate(8, 0.5, faulty.Drop), 3},
		"endpoint": {faulty.Rate(7, 0.5, faulty.Drop), 4},
		"fault":    {faulty.Rate(7, 0.5, faulty.Corrupt), 3},
	} {
		set, count := hits(other.inj, other.ep)
		same := 0
		for i := range set {
			if set[i] == base[i] {
				same++
			}
		}
		// Half of 20,000 with a standard deviation of 71.
		if math.Abs(float64(count-n/2)) > 400 || math.Abs(float64(same-n/2)) > 400 {
			t.Errorf("another %s: %d hits, %d as before, want about %d of %d", name, count, same, n/2, n)
		}
	}
	for _, p := range []float64{0.001, 0.01, 0.3, 0.95} {
		want := p * n
		if _, count := hits(faulty.Rate(1, p, faulty.Drop), 0); math.Abs(float64(count)-want) > 6*math.Sqrt(want*(1-p)) {
			t.Errorf("rate %v: %d of %d", p, count, n)
		}
	}
	// A duration doesn't change which packets are hit.
	a, _ := hits(faulty.Rate(7, 0.1, faulty.Delay), 3)
	b, _ := hits(faulty.Rate(7, 0.1, faulty.Delay.By(time.Second)), 3)
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("packet %d: %v without a duration, %v with one", i, a[i], b[i])
		}
	}
}

func TestFaultText(t *testing.T) {
	for f, want := range map[faulty.Fault]string{
		faulty.None:                             "None",
		faulty.Drop:                             "Drop",
		faulty.Drop.By(time.Second):             "Drop",
		faulty.Delay:                            "Delay",
		faulty.Delay.By(1500 * time.Nanosecond): "Delay(1.5µs)",
		faulty.Delay.By(time.Hour).By(2):        "Delay(2ns)",
		faulty.Delay.By(-5):                     "Delay",
		faulty.Cut.By(math.MaxInt64):            "Cut(320255h58m24.606846975s)",
		faulty.Duplicate.By(time.Minute):        "Duplicate(1m0s)",
		faulty.Reorder.By(time.Second):          "Reorder(1s)",
		7:                                       "Fault(7)",
		-1:                                      "Fault(-1)",
	} {
		if f.String() != want {
			t.Errorf("fault %d is %s, want %s", int64(f), f, want)
		}
	}
}

// injectors draws an injector.
func injectors(depth int) *rapid.Generator[faulty.Injector] {
	return rapid.Custom(func(t *rapid.T) faulty.Injector {
		f := rapid.SampledFrom([]faulty.Fault{
			faulty.None, faulty.Drop, faulty.Duplicate, faulty.Reorder, faulty.Delay, faulty.Corrupt, faulty.Cut,
		}).Draw(t, "fault")
		f = f.By(time.Duration(rapid.Int64().Draw(t, "by")))
		kinds := 5
		if depth == 0 {
			kinds = 3
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "injector") {
		case 0:
			return faulty.OnIndex(rapid.Uint64().Draw(t, "n"), f)
		case 1:
			return faulty.Every(rapid.Uint64().Draw(t, "n"), f)
		case 2:
			return faulty.Rate(rapid.Uint64().Draw(t, "seed"), rapid.Float64Range(0, 1).Draw(t, "p"), f)
		case 3:
			return faulty.ForEndpoint(rapid.Int().Draw(t, "ep"), injectors(depth-1).Draw(t, "of"))
		default:
			return faulty.Any(rapid.SliceOfN(injectors(depth-1), 0, 4).Draw(t, "of")...)
		}
	})
}

// What an injector prints is that injector.
func TestParseRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inj := injectors(3).Draw(t, "injector")
		again, err := faulty.Parse(inj.String())
		if err != nil {
			t.Fatal(err)
		}
		if again.String() != inj.String() {
			t.Fatalf("%v was parsed as %v", inj, again)
		}
		for range 20 {
			p := faulty.Packet{Endpoint: rapid.IntRange(-3, 3).Draw(t, "ep"), Index: rapid.Uint64Range(0, 9).Draw(t, "index")}
			if a, b := inj.Judge(p), again.Judge(p); a != b {
				t.Fatalf("%v judges %+v as %v, parsed again as %v", inj, p, a, b)
			}
		}
	})
}

func TestParse(t *testing.T) {
	inj, err := faulty.Parse(" Any (Rate( 7 ,\t5e-2, Delay( 1ms ) ),\nForEndpoint(3,Every(2,Drop)) ) ")
	if err != nil {
		t.Fatal(err)
	}
	if want := "Any(Rate(7, 0.05, Delay(1ms)), ForEndpoint(3, Every(2, Drop)))"; inj.String() != want {
		t.Errorf("%v, want %s", inj, want)
	}
}

func TestParseErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		text   string
		offset int
	}{
		"empty":             {"", 0},
		"unknown":           {"Sometimes(3, Drop)", 0},
		"no parenthesis":    {"Every 3, Drop", 6},
		"not closed":        {"Every(3, Drop", 13},
		"more":              {"Every(3, Drop) x", 15},
		"number":            {"Every(x, Drop)", 6},
		"negative":          {"OnIndex( -1, Drop)", 9},
		"no comma":          {"Every(3 Drop)", 8},
		"fault":             {"Every(3, Loose)", 9},
		"fault with time":   {"Every(3, Drop(1ms))", 9},
		"duration":          {"Every(3, Delay(1))", 15},
		"negative duration": {"Every(3, Delay(-1ms))", 15},
		"duration open":     {"Every(3, Delay(1ms", 18},
		"rate above 1":      {"Rate(1, 1.5, Drop)", 8},
		"rate below 0":      {"Rate(1, -0.5, Drop)", 8},
		"rate NaN":          {"Rate(1, NaN, Drop)", 8},
		"no injector":       {"ForEndpoint(1, )", 15},
		"endpoint":          {"ForEndpoint(a, Any())", 12},
		"any, comma":        {"Any(Any(), )", 11},
		"too deep":          {strings.Repeat("Any(", 100), 4 * 64},
	} {
		t.Run(name, func(t *testing.T) {
			inj, err := faulty.Parse(tt.text)
			var e *faulty.SyntaxError
			if !errors.As(err, &e) {
				t.Fatalf("%v, error %v", inj, err)
			}
			if e.Offset != tt.offset || e.Text != tt.text || e.Want == "" || inj != nil {
				t.Errorf("%v, %v, want it at byte %d", inj, err, tt.offset)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"OnIndex(3, Drop)", "Every(10, Delay(1ms))", "Rate(7, 0.05, Corrupt)", "ForEndpoint(-1, Any())",
		"Any(OnIndex(0, None), Every(2, Cut(1h)), Rate(18446744073709551615, 1e-300, Reorder(1.5µs)))",
		"Any(Any(Any(", "Rate(1, NaN, Drop)", "Every(3, Delay(9999999h))", "OnIndex(0x3, Drop)", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		inj, err := faulty.Parse(s)
		if err != nil {
			var e *faulty.SyntaxError
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(s) {
				t.Fatalf("%q: error %v", s, err)
			}
			return
		}
		inj.Judge(faulty.Packet{Index: 3})
		again, err := faulty.Parse(inj.String())
		if err != nil || again.String() != inj.String() {
			t.Fatalf("%q is %v, which is %v: %v", s, inj, again, err)
		}
	})
}

func TestOptionErrors(t *testing.T) {
	for name, o := range map[string]faulty.Options{
		"Drop":      {Drop: 1.01},
		"Duplicate": {Duplicate: -0.1},
		"Reorder":   {Reorder: math.NaN()},
		"Delay":     {Delay: math.Inf(1)},
		"Corrupt":   {Corrupt: 2},
		"DelayBy":   {DelayBy: -1},
		"HealAfter": {HealAfter: -1},
	} {
		t.Run(name, func(t *testing.T) {
			inner, err := wires.Open(inproc.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer inner.Close()
			if _, err := faulty.Wrap(inner, o); !errors.Is(err, faulty.ErrOption) || !strings.Contains(err.Error(), name+" is") {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := faulty.Wrap(nil, faulty.Options{}); !errors.Is(err, faulty.ErrOption) {
		t.Errorf("no port: error %v", err)
	}
}

// The rates are shorthand.
func TestOptionsPrint(t *testing.T) {
	r := newRig(t, 0, faulty.Options{
		Seed: 9, Inject: faulty.OnIndex(1, faulty.Drop), Drop: 0.1, Duplicate: 0.2, Reorder: 0.3, Delay: 0.4, Corrupt: 1,
		CutAfter: 5, HealAfter: time.Second,
	}, inproc.Options{})
	const want = "faulty+inproc: Any(OnIndex(1, Drop), OnIndex(5, Cut(1s)), Rate(9, 0.1, Drop), Rate(9, 0.2, Duplicate), " +
		"Rate(9, 0.3, Reorder), Rate(9, 0.4, Delay), Rate(9, 1, Corrupt))"
	if got := r.port.String(); got != want {
		t.Errorf("port\n%s, want\n%s", got, want)
	}
	if got := newRig(t, 0, faulty.Options{}, inproc.Options{}).port.String(); got != "faulty+inproc" {
		t.Errorf("a port without faults is %q", got)
	}
}
