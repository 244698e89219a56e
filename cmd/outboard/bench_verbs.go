package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"outboard/bench"
	"outboard/bench/peers"
	"outboard/bench/rdma"
	"outboard/mpi"
)

// benchVerbsWord as the first argument of `outboard bench` measures the verbs.
const benchVerbsWord = "verbs"

const benchVerbsHelp = `usage: outboard bench verbs [flags]

Measure latency, bandwidth and message rate of SEND, RDMA WRITE, RDMA READ and the atomics between two contexts, in the
manner of perftest (ib_write_lat, ib_send_bw …): over shm two processes, each on a core of its own, over inproc one
process. Data is checked after each measurement; damage ends the run.

  outboard bench verbs                              everything, at a few sizes
  outboard bench verbs --op write --metric lat -a   ib_write_lat -a
  outboard bench verbs --op send --metric bw -s 64K -b -q 4
  outboard bench verbs --peers                      also the machine's own limits and UCX, by turns
  outboard bench verbs --targets                    the verbs against those limits, as ratios

Latency is in microseconds (half a round trip of WRITE and SEND, a whole READ or atomic), bandwidth in MB/s of 10^6
bytes, rate in millions of messages a second. An atomic moves 8 bytes, whatever -s says. Names that end in /go are of
memory from Go's heap instead of the device.

`

// verbsFlags are the flags of `outboard bench verbs` as they are written.
type verbsFlags struct {
	sizes, fabrics, ops, metrics, memories string
	inline                                 int
	all, peers, onlyTargets, csv, json     bool
	verbose                                bool
	turns                                  int
	timeout                                time.Duration
	options                                rdma.Options
}

// verbsRequest is what they ask for, checked.
type verbsRequest struct {
	verbsFlags
	jobs    []bench.Job
	targets []rdma.Target
}

// inlineDefault as the value of -I leaves it to the experiment.
const inlineDefault = -1

func (f *verbsFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&f.sizes, "s", "", "message `sizes` in bytes, such as 8,1K or 64:1M "+
		"(default: 8,4K,1M for latency, 64K,1M for bandwidth, 8 for rate)")
	fs.BoolVar(&f.all, "a", false, "all sizes from 2 to 8M, doubling")
	fs.IntVar(&f.options.Iterations, "n", 0, "`iterations`: messages of each queue pair and size (default: by size, some milliseconds)")
	fs.BoolVar(&f.options.Both, "b", false, "bandwidth and rate in both directions at a time, added up")
	fs.IntVar(&f.options.QPs, "q", 1, "queue `pairs` of bandwidth and rate, 1 to 128")
	fs.IntVar(&f.inline, "I", inlineDefault, "send inline up to so many `bytes`, 0 to 512; -1 is 220, and 0 for bandwidth")
	fs.IntVar(&f.options.Moderation, "Q", 0, "ask for a completion of one in so many `requests`, 1 to -t "+
		"(default 1 for latency, else a quarter of -t)")
	fs.IntVar(&f.options.Depth, "t", 128, "tx `depth`: requests outstanding on one queue pair, 1 to 16384")
	fs.StringVar(&f.fabrics, "fabric", string(bench.Shm), "inproc, shm or both, as inproc,shm")
	fs.StringVar(&f.ops, "op", "send,write,read,atomic", "`operations`; atomic is fetch_add,cmp_swap")
	fs.StringVar(&f.metrics, "metric", "lat,bw,rate", "`metrics`: lat, bw, rate")
	fs.StringVar(&f.memories, "memory", string(rdma.Device), "`memory` that is moved: device, go or both, as device,go")
	fs.BoolVar(&f.peers, "peers", false, "also the machine's limits (cache line, copy, process_vm_readv) and ucx_perftest, by turns with ours")
	fs.BoolVar(&f.onlyTargets, "targets", false, "measure just the verbs' targets and the limits that they are set by, and show the ratios")
	fs.IntVar(&f.turns, "turns", 0, "measure everything so many `times` and report medians (default 1; with --peers or --targets 5)")
	fs.DurationVar(&f.timeout, "timeout", 2*time.Minute, "give up on processes that take longer, for each start of them")
	fs.BoolVar(&f.csv, "csv", false, "report as CSV")
	fs.BoolVar(&f.json, "json", false, "report as JSON, with all samples")
	fs.BoolVar(&f.verbose, "v", false, "say on standard error what is being measured")
}

// benchVerbs measures the verbs.
func benchVerbs(std stdio, args []string) int {
	if len(args) > 0 && args[0] == benchWorkerFlag {
		return verbsWorker(std, args[1:])
	}
	request, code, ok := parseVerbs(std, args)
	if !ok {
		return code
	}
	return untilSignal(std, "bench verbs", func(ctx context.Context) error { return measureVerbs(ctx, std, request) })
}

// verbsWorker is one rank of a job that another `outboard bench verbs` launched: OPTIONS EXPERIMENT:BYTES...
func verbsWorker(std stdio, args []string) int {
	if len(args) == 0 {
		return complain(std, "bench verbs: a worker needs its options")
	}
	options, err := rdma.Decode(args[0])
	if err != nil {
		return complain(std, "bench verbs: %v", err)
	}
	cases, err := options.ParseCases(bench.Shm, args[1:])
	if err != nil {
		return complain(std, "bench verbs: %v", err)
	}
	mpi.Main(func(world *mpi.Comm) error { return bench.Work(world, cases, std.out) })
	return exitOK
}

// parseVerbs reads the command line. When it returns false the command ends with the returned code.
func parseVerbs(std stdio, args []string) (r verbsRequest, code int, ok bool) {
	fs := newFlags("bench verbs")
	r.register(fs)
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(std.out, benchVerbsHelp)
		fs.SetOutput(std.out)
		fs.PrintDefaults()
		return r, exitOK, false
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err == nil {
		given := map[string]bool{}
		fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
		err = r.check(given)
	}
	if err != nil {
		return r, complain(std, "bench verbs: %v; `outboard bench verbs -h` lists the flags", err), false
	}
	return r, exitOK, true
}

// check fills in the defaults and the plan. given are the flags on the command line.
func (r *verbsRequest) check(given map[string]bool) error {
	switch {
	case r.turns < 0 || r.turns > 1000:
		return fmt.Errorf("-turns %d, want 1 to 1000", r.turns)
	case r.timeout <= 0:
		return fmt.Errorf("-timeout %v, want more than nothing", r.timeout)
	case r.csv && r.json:
		return errors.New("-csv and -json, want one of them")
	case r.all && r.sizes != "":
		return errors.New("-a and -s, want one of them")
	}
	for name, least := range map[string]int{"n": 1, "q": 1, "t": 1, "Q": 1, "I": inlineDefault} {
		if v := r.flagValue(name); given[name] && v < least {
			return fmt.Errorf("-%s %d, want at least %d", name, v, least)
		}
	}
	if r.inline != inlineDefault {
		r.options.Inline = &r.inline
	}
	if err := r.options.Check(); err != nil {
		return err
	}
	if r.turns == 0 {
		r.turns = turnsAlone
		if r.peers || r.onlyTargets {
			r.turns = turnsCompared
		}
	}
	if r.onlyTargets {
		for _, name := range []string{"s", "a", "op", "metric", "memory", "fabric", "peers", "b", "q"} {
			if given[name] {
				return fmt.Errorf("-%s and -targets: what those measure is fixed", name)
			}
		}
		var job bench.Job
		r.targets, job = r.options.Targets()
		r.jobs = []bench.Job{job}
		return nil
	}
	return r.plan()
}

func (r *verbsRequest) flagValue(name string) int {
	o := &r.options
	return map[string]int{"n": o.Iterations, "q": o.QPs, "t": o.Depth, "Q": o.Moderation, "I": r.inline}[name]
}

func (r *verbsRequest) plan() error {
	fabrics, err := bench.ParseFabrics(r.fabrics)
	if err != nil {
		return err
	}
	ops, err := rdma.ParseOperations(r.ops)
	if err != nil {
		return err
	}
	metrics, err := rdma.ParseWords("metric", r.metrics, rdma.Metrics)
	if err != nil {
		return err
	}
	memories, err := rdma.ParseWords("memory", r.memories, rdma.Memories)
	if err != nil {
		return err
	}
	var sizes []int
	switch {
	case r.all:
		sizes, err = bench.ParseSizes("2:8M")
	case r.sizes != "":
		sizes, err = bench.ParseSizes(r.sizes)
	}
	if err != nil {
		return err
	}
	if r.jobs, err = r.options.Plan(fabrics, ops, metrics, memories, sizes); err != nil {
		return err
	}
	if r.peers {
		r.jobs, err = rdma.WithLimits(r.options, r.jobs)
	}
	return err
}

// measureVerbs does what the request asks for and writes the report.
func measureVerbs(ctx context.Context, std stdio, r verbsRequest) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	worker := []string{executable, "bench", benchVerbsWord, benchWorkerFlag, r.options.Encode()}
	runner := verbsRunner{ours: limited{&bench.Ours{Worker: worker}, r.timeout}}
	jobs, note := r.jobs, ""
	if r.peers {
		ucx, err := peers.FindUCX(ctx)
		switch {
		case errors.Is(err, peers.ErrAbsent):
			note = fmt.Sprintf("Left out: %v.", err)
		case err != nil:
			return err
		default:
			runner.ucx = limited{ucx, r.timeout}
			note = fmt.Sprintf("Peer: %s.", ucx)
			jobs = append(jobs, ucx.Job())
		}
	}
	report, err := bench.Measure(ctx, []bench.Runner{runner}, jobs, r.turns, progress(std.err, r.verbose))
	if err != nil {
		return err
	}
	if r.targets != nil {
		return r.writeTargets(std.out, report)
	}
	return r.writeReport(std, report, note)
}

func (r *verbsRequest) writeReport(std stdio, report *bench.Report, note string) error {
	switch {
	case r.csv:
		return report.WriteCSV(std.out)
	case r.json:
		return report.WriteJSON(std.out)
	}
	if err := report.WriteTable(std.out); err != nil {
		return err
	}
	return footnotes(std.out, r.turns, note)
}

func (r *verbsRequest) writeTargets(w io.Writer, report *bench.Report) error {
	verdicts, err := rdma.Judge(report, r.targets)
	if err != nil {
		return err
	}
	switch {
	case r.csv:
		return rdma.WriteTargetsCSV(w, verdicts)
	case r.json:
		return rdma.WriteTargetsJSON(w, verdicts)
	}
	if err := rdma.WriteTargets(w, verdicts); err != nil {
		return err
	}
	return footnotes(w, r.turns, "Ratio: ours over the limit, of each turn.")
}

// footnotes writes what the reader of a table has to know.
func footnotes(w io.Writer, turns int, note string) error {
	var lines []string
	if turns > 1 {
		lines = append(lines, fmt.Sprintf("Medians of %d turns, with the range.", turns))
	}
	if note != "" {
		lines = append(lines, note)
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(lines, "\n"))
	return err
}

// verbsRunner gives each job to whoever can do it.
type verbsRunner struct{ ours, ucx bench.Runner }

// Name heads the column of values.
func (verbsRunner) Name() string { return benchVerbsWord }

// Run does the job.
func (r verbsRunner) Run(ctx context.Context, job bench.Job) ([]float64, error) {
	if peers.IsUCX(job) {
		return r.ucx.Run(ctx, job)
	}
	return r.ours.Run(ctx, job)
}
