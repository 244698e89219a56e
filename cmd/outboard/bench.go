package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"outboard/bench"
	"outboard/bench/peers"
)

func init() {
	commands = append(commands, command{
		name: "bench", args: "[flags] [BENCHMARK...] | bench verbs [flags]",
		summary: "Measure message passing, beside Open MPI and MPICH with -peers; or the verbs, as perftest does",
		run:     benchCommand,
	})
}

// benchFlags are the flags of `outboard bench` as they are written.
type benchFlags struct {
	ranks, sizes, fabrics, format    string
	turns                            int
	timeout                          time.Duration
	peers, verbose                   bool
	peersDir, openmpiArgs, mpichArgs string
}

// benchRequest is what they ask for, checked.
type benchRequest struct {
	benchFlags
	jobs []bench.Job
}

const (
	turnsAlone    = 1
	turnsCompared = 5
)

// benchCommand measures the named benchmarks, or all.
func benchCommand(std stdio, args []string) int {
	if len(args) > 0 && args[0] == benchWorkerFlag {
		return benchWorker(std, args[1:])
	}
	if len(args) > 0 && args[0] == benchVerbsWord {
		return benchVerbs(std, args[1:])
	}
	request, code, ok := parseBench(std, args)
	if !ok {
		return code
	}
	return untilSignal(std, "bench", func(ctx context.Context) error { return measure(ctx, std, request) })
}

// untilSignal runs a measurement until it is over or a signal ends it, and gives the command's exit code.
func untilSignal(std stdio, name string, run func(context.Context) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(std.err, "outboard: %s: %v\n", name, err)
		return exitFail
	}
	return exitOK
}

func (f *benchFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&f.ranks, "np", "", "numbers of ranks, such as 2,4 (default 2; with -peers also allreduce of 8 bytes on 4)")
	fs.StringVar(&f.sizes, "sizes", "", "message sizes in bytes, such as 8,1K or 64:1M (default: each benchmark has its own)")
	fs.StringVar(&f.fabrics, "fabric", string(bench.Shm), "how ranks reach one another: inproc, shm or both, as inproc,shm")
	fs.StringVar(&f.format, "format", "table", "table, csv or json")
	fs.IntVar(&f.turns, "turns", 0, "measure everything so many times and report medians (default 1; with -peers 5)")
	fs.DurationVar(&f.timeout, "timeout", 2*time.Minute, "give up on ranks that take longer, for each start of them")
	fs.BoolVar(&f.verbose, "v", false, "say on standard error what is being measured")
	fs.BoolVar(&f.peers, "peers", false, "measure Open MPI and MPICH by turns with ours, and compare")
	fs.StringVar(&f.peersDir, "peers-dir", "", "folder of the peers' programs (default: outboard/peers in the user's cache)")
	fs.StringVar(&f.openmpiArgs, "openmpi-args", "", "more arguments for mpirun of Open MPI, separated by blanks")
	fs.StringVar(&f.mpichArgs, "mpich-args", "", "more arguments for mpiexec of MPICH, separated by blanks")
}

// parseBench reads the command line; benchmarks and flags may be mixed. When it returns false the command ends with the returned code.
func parseBench(std stdio, args []string) (request benchRequest, code int, ok bool) {
	fs := newFlags("bench")
	request.register(fs)
	var names []string
	for {
		if code, ok := parse(std, fs, args); !ok {
			return request, code, false
		}
		if fs.NArg() == 0 {
			break
		}
		names, args = append(names, fs.Arg(0)), fs.Args()[1:]
	}
	if err := request.check(names); err != nil {
		return request, complain(std, "bench: %v; `outboard help bench` lists the flags", err), false
	}
	return request, exitOK, true
}

// check fills in the defaults and the plan.
func (r *benchRequest) check(names []string) error {
	if !slices.Contains([]string{"table", "csv", "json"}, r.format) {
		return fmt.Errorf("-format %q, want table, csv or json", r.format)
	}
	if r.turns < 0 || r.turns > 1000 {
		return fmt.Errorf("-turns %d, want 1 to 1000", r.turns)
	}
	if r.timeout <= 0 {
		return fmt.Errorf("-timeout %v, want more than nothing", r.timeout)
	}
	if r.turns == 0 {
		r.turns = turnsAlone
		if r.peers {
			r.turns = turnsCompared
		}
	}
	if !r.peers && (r.openmpiArgs != "" || r.mpichArgs != "" || r.peersDir != "") {
		return errors.New("-openmpi-args, -mpich-args and -peers-dir are for -peers")
	}
	return r.plan(names)
}

func (r *benchRequest) plan(names []string) error {
	chosen, err := bench.Select(names...)
	if err != nil {
		return err
	}
	fabrics, err := bench.ParseFabrics(r.fabrics)
	if err != nil {
		return err
	}
	var ranks, sizes []int
	if r.ranks != "" {
		if ranks, err = bench.ParseRanks(r.ranks); err != nil {
			return err
		}
	}
	if r.sizes != "" {
		if sizes, err = bench.ParseSizes(r.sizes); err != nil {
			return err
		}
	}
	if r.peers {
		r.jobs, err = bench.ComparisonPlan(chosen, fabrics, ranks, sizes)
		return err
	}
	if ranks == nil {
		ranks = []int{2}
	}
	r.jobs, err = bench.Plan(chosen, fabrics, ranks, sizes)
	return err
}

// measure does what the request asks for and writes the report.
func measure(ctx context.Context, std stdio, r benchRequest) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	ours := &bench.Ours{Worker: []string{executable, "bench", benchWorkerFlag}}
	runners := []bench.Runner{limited{ours, r.timeout}}
	var titles []string
	if r.peers {
		found, err := findPeers(ctx, r.benchFlags)
		if err != nil {
			return err
		}
		for _, p := range found {
			runners = append(runners, limited{p, r.timeout})
			titles = append(titles, p.String())
		}
	}
	report, err := bench.Measure(ctx, runners, r.jobs, r.turns, progress(std.err, r.verbose))
	if err != nil {
		return err
	}
	return writeReport(std.out, report, r, titles)
}

func findPeers(ctx context.Context, f benchFlags) ([]*peers.Peer, error) {
	dir := f.peersDir
	if dir == "" {
		var err error
		if dir, err = peers.DefaultDir(); err != nil {
			return nil, err
		}
	}
	return peers.Find(ctx, dir, map[string]string{"openmpi": f.openmpiArgs, "mpich": f.mpichArgs})
}

func writeReport(w io.Writer, report *bench.Report, r benchRequest, titles []string) error {
	switch r.format {
	case "csv":
		return report.WriteCSV(w)
	case "json":
		return report.WriteJSON(w)
	}
	if err := report.WriteTable(w); err != nil {
		return err
	}
	var err error
	if r.turns > 1 {
		_, err = fmt.Fprintf(w, "\nMedians of %d turns, with the range.\n", r.turns)
	}
	if err == nil && r.peers {
		_, err = fmt.Fprintf(w, "Ratio: ours over the better peer, inverted for rates; below 1, ours is ahead.\nPeers: %s.\n",
			strings.Join(titles, ", "))
	}
	return err
}

func progress(w io.Writer, verbose bool) func(bench.Step) {
	if !verbose {
		return nil
	}
	return func(s bench.Step) {
		fmt.Fprintf(w, "turn %d of %d: %s, %s, %d ranks: %s\n",
			s.Turn, s.Turns, s.Runner, s.Job.Fabric, s.Job.Ranks, strings.Join(bench.Arguments(s.Job.Cases), " "))
	}
}

// limited is a runner that has so long for each job.
type limited struct {
	bench.Runner
	timeout time.Duration
}

// Run does the job or ends it.
func (l limited) Run(ctx context.Context, job bench.Job) ([]float64, error) {
	late := fmt.Errorf("not done after %v", l.timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, l.timeout, late)
	defer cancel()
	values, err := l.Runner.Run(ctx, job)
	if err != nil && context.Cause(ctx) == late && !errors.Is(err, late) {
		err = fmt.Errorf("%w: %w", late, err)
	}
	return values, err
}
