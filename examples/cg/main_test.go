package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"gonum.org/v1/gonum/mat"

	"outboard/examples/cg/internal/mm"
	"outboard/mpi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// launch runs the job on n ranks and returns what it prints and each rank's error.
func launch(t *testing.T, n int, args ...string) (string, []error) {
	t.Helper()
	c, bad := parse(args)
	var out bytes.Buffer // only rank 0 writes
	errs := make([]error, n)
	if err := mpi.Run(n, func(world *mpi.Comm) error {
		errs[world.Rank()] = run(world, c, bad, &out)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out.String(), errs
}

// readSolution reads a file that -solution wrote.
func readSolution(t *testing.T, name string) []float64 {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	if lines[0] != "%%MatrixMarket matrix array real general" || lines[1] != fmt.Sprint(len(lines)-2, " ", 1) {
		t.Fatalf("%s begins with %q and has %d numbers", name, lines[:2], len(lines)-2)
	}
	x := make([]float64, len(lines)-2)
	for i, line := range lines[2:] {
		if x[i], err = strconv.ParseFloat(line, 64); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// TestRun wants the same bits on any number of ranks, and the manufactured solution.
func TestRun(t *testing.T) {
	for _, test := range []struct {
		name     string
		args     []string
		accuracy float64
	}{
		{"Poisson", []string{"-poisson", "8"}, 1e-9},
		{"Poisson of one point", []string{"-poisson", "1"}, 1e-9},
		{"Poisson by rows", []string{"-poisson", "8", "-balance", "rows"}, 1e-9},
		{"truss", []string{"-matrix", "testdata/truss.mtx"}, 1e-8},
		{"truss by rows with Jacobi", []string{"-matrix", "testdata/truss.mtx", "-jacobi", "-balance", "rows", "-tol", "1e-12"}, 1e-10},
	} {
		t.Run(test.name, func(t *testing.T) {
			var one []float64
			for _, ranks := range []int{1, 2, 3, 4, 7} {
				file := filepath.Join(t.TempDir(), "x.mtx")
				out, errs := launch(t, ranks, append(test.args, "-solution", file)...)
				if err := errors.Join(errs...); err != nil {
					t.Fatalf("%d ranks: %v", ranks, err)
				}
				for _, want := range []string{"matrix    ", fmt.Sprintf("ranks     %d, each with ", ranks), "solved    in ", "residual  ", "error     ", "NICs      "} {
					if strings.Count(out, want) != 1 {
						t.Errorf("%d ranks: want %q once in\n%s", ranks, want, out)
					}
				}
				x := readSolution(t, file)
				if one == nil {
					one = x
				}
				if !slices.Equal(x, one) {
					t.Errorf("%d ranks: solution differs from that of one rank", ranks)
				}
			}
			for i, got := range one {
				if want := 1 + math.Sin(float64(i))/2; !(math.Abs(got-want) <= test.accuracy) {
					t.Fatalf("x[%d] is %g, want %g", i, got, want)
				}
			}
		})
	}
}

// TestRunOnes compares the deflection of the truss under a unit load on all joints with Cholesky's.
func TestRunOnes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.mtx")
	out, errs := launch(t, 3, "-matrix", "testdata/truss.mtx", "-rhs", "ones", "-tol", "1e-13", "-solution", file)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "error") {
		t.Errorf("want no error without a known solution in\n%s", out)
	}
	m, err := mm.ReadFile("testdata/truss.mtx")
	if err != nil {
		t.Fatal(err)
	}
	n := m.N()
	dense, ones := mat.NewSymDense(n, nil), mat.NewVecDense(n, slices.Repeat([]float64{1}, n))
	for i := range n {
		for j := i; j < n; j++ {
			dense.SetSym(i, j, m.At(i, j))
		}
	}
	var cholesky mat.Cholesky
	if !cholesky.Factorize(dense) {
		t.Fatal("the truss is not positive definite")
	}
	var want, difference mat.VecDense
	if err := cholesky.SolveVecTo(&want, ones); err != nil {
		t.Fatal(err)
	}
	difference.SubVec(mat.NewVecDense(n, readSolution(t, file)), &want)
	if d := difference.Norm(2) / want.Norm(2); !(d <= 1e-10) {
		t.Errorf("differs from Cholesky by %g, want at most 1e-10", d)
	}
}

// TestRunErrors wants an error on every rank and the whole story on just one.
func TestRunErrors(t *testing.T) {
	write := func(content string) string {
		name := filepath.Join(t.TempDir(), "a.mtx")
		if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const symmetric = "%%MatrixMarket matrix coordinate real symmetric\n"
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"bad flag", []string{"-tol", "x"}, `invalid value "x" for flag -tol`},
		{"no such file", []string{"-matrix", "testdata/absent.mtx"}, "testdata/absent.mtx: no such file"},
		{"mistake in the file", []string{"-matrix", write(symmetric + "2 2 2\n1 1 1\n1 2 1\n")}, `a.mtx:4: "1 2 1": entry is above the diagonal`},
		{"bad row on the last rank", []string{"-matrix", write(symmetric + "3 3 3\n1 1 1\n2 2 1\n3 3 -4\n")}, "entry (3, 3) is -4"},
		{"not positive definite", []string{"-matrix", write(symmetric + "2 2 3\n1 1 1\n2 1 2\n2 2 1\n")}, "not positive definite"},
		{"too few iterations", []string{"-poisson", "5", "-maxiter", "2"}, "too many iterations: want residual 1e-10 within 2"},
		{"grid too large", []string{"-poisson", "1291"}, "side 1291, want 1 to 1290"},
		{"solution in no folder", []string{"-poisson", "2", "-solution", "testdata/absent/x.mtx"}, "testdata/absent/x.mtx: no such file"},
		{"solution on a full disk", []string{"-poisson", "2", "-solution", "/dev/full"}, "no space left"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, errs := launch(t, 3, test.args...)
			told := make([]bool, len(errs))
			for rank, err := range errs {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("rank %d: got %v, want it to contain %q", rank, err, test.want)
				}
			}
			if err := mpi.Run(len(errs), func(world *mpi.Comm) error {
				told[world.Rank()] = once(world, errs[world.Rank()]) != nil
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(fmt.Sprint(told), "true"); n != 1 {
				t.Errorf("%d ranks tell of it, want 1: %v", n, told)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	out, errs := launch(t, 2, "-h")
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	flags(new(config)).VisitAll(func(f *flag.Flag) {
		if strings.Count(out, "  -"+f.Name) != 1 {
			t.Errorf("want -%s once in\n%s", f.Name, out)
		}
	})
}

func TestParse(t *testing.T) {
	c, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (config{poisson: 64, balance: "entries", rhs: "manufactured", tolerance: 1e-10}); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	c, err = parse(strings.Fields("-matrix a -balance rows -rhs ones -jacobi -tol 1e-6 -maxiter 7 -solution x -ranks-in-process 3"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (config{matrix: "a", poisson: 64, balance: "rows", rhs: "ones", jacobi: true, tolerance: 1e-6,
		maxIterations: 7, solution: "x", ranksInProcess: 3}); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ name, args, want string }{
		{"unknown flag", "-x", "not defined: -x"},
		{"argument", "a.mtx", `argument "a.mtx"`},
		{"two matrices", "-matrix a -poisson 4", "both -matrix a and -poisson 4"},
		{"no matrix", "-matrix=", "-matrix is empty"},
		{"balance", "-balance x", "-balance x, want entries or rows"},
		{"right-hand side", "-rhs zeros", "-rhs zeros, want manufactured or ones"},
		{"tolerance 0", "-tol 0", "-tol 0, want it between 0 and 1"},
		{"tolerance 1", "-tol 1", "-tol 1,"},
		{"tolerance NaN", "-tol NaN", "-tol NaN,"},
		{"iterations", "-maxiter -1", "-maxiter -1, want at least 0"},
		{"no ranks", "-ranks-in-process 0", "-ranks-in-process 0, want at least 1"},
		{"negative ranks", "-ranks-in-process -2", "-ranks-in-process -2, want at least 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := parse(strings.Fields(test.args))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to contain %q", err, test.want)
			}
			if c.ranksInProcess != 0 {
				t.Errorf("%d ranks in the process, want 0 so that the error is told", c.ranksInProcess)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for _, test := range []struct {
		n    uint64
		want string
	}{{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {1 << 20, "1.0 MiB"}, {math.MaxUint64, "16.0 EiB"}} {
		if got := bytesWithUnit(test.n); got != test.want {
			t.Errorf("%d: got %q, want %q", test.n, got, test.want)
		}
	}
}
