package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"outboard/bench"
)

// A Peer runs benchmarks under one MPI library, with shared memory between its processes whatever a job's fabric is: that is
// what the library would use on one machine.
type Peer struct {
	library *library
	program string
	version string
	extra   string
}

var _ bench.Runner = (*Peer)(nil)

// Find returns the peers, Open MPI and then MPICH, with their programs in dir, which it builds unless they are there. extra gives,
// by the peer's name, launcher arguments separated by blanks. When libraries are not installed, the error wraps
// [ErrAbsent] and says how to install them.
func Find(ctx context.Context, dir string, extra map[string]string) ([]*Peer, error) {
	var absent error
	for i := range libraries {
		absent = errors.Join(absent, libraries[i].installed())
	}
	if absent != nil {
		return nil, absent
	}
	var peers []*Peer
	for i := range libraries {
		l := &libraries[i]
		program, err := l.build(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("building the benchmarks for %s: %w", l.title, err)
		}
		version, err := l.version(ctx)
		if err != nil {
			return nil, err
		}
		peers = append(peers, &Peer{library: l, program: program, version: version, extra: extra[l.name]})
	}
	return peers, nil
}

// Name returns "openmpi" or "mpich".
func (p *Peer) Name() string { return p.library.name }

// String returns the library's name and version, and the arguments that it was given.
func (p *Peer) String() string {
	s := p.library.title + " " + p.version
	if p.extra != "" {
		s += " with " + p.extra
	}
	return s
}

// Run measures the cases of the job. Its errors show what the library wrote to standard error.
func (p *Peer) Run(ctx context.Context, job bench.Job) ([]float64, error) {
	args := p.library.arguments(job.Ranks, p.extra)
	args = append(args, p.program)
	args = append(args, bench.Arguments(job.Cases)...)
	out, err := output(ctx, p.library.env, p.library.launcher, args...)
	if err != nil {
		return nil, err
	}
	return bench.ParseOutput(bytes.NewReader(out), job)
}
