package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// Exit codes of the command itself; a job's own code is passed through.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// stdio is what a command talks to, so that tests can listen.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// A command is one entry of the table: `outboard NAME args`.
type command struct {
	name    string
	args    string // what follows the name in the usage line
	summary string // one line for `outboard help`
	run     func(std stdio, args []string) int
}

// commands is the table of subcommands. The file that implements a command
// appends it in init.
var commands []command

func main() {
	os.Exit(dispatch(stdio{os.Stdin, os.Stdout, os.Stderr}, os.Args[1:]))
}

// dispatch runs the command that args[0] names.
func dispatch(std stdio, args []string) int {
	if len(args) == 0 {
		usage(std.err)
		return exitUsage
	}
	name := args[0]
	if name == "-h" || name == "-help" || name == "--help" {
		name = "help"
	}
	if c, ok := lookup(name); ok {
		return c.run(std, args[1:])
	}
	return complain(std, "unknown command %q; `outboard help` lists them", name)
}

// lookup finds a command by its name.
func lookup(name string) (command, bool) {
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if i < 0 {
		return command{}, false
	}
	return commands[i], true
}

// usage lists the commands by name.
func usage(w io.Writer) {
	fmt.Fprint(w, "usage: outboard COMMAND [arguments]\n\n")
	sorted := slices.SortedFunc(slices.Values(commands), func(a, b command) int { return strings.Compare(a.name, b.name) })
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, c := range sorted {
		fmt.Fprintf(tw, "  %s\t%s\n", c.name, c.summary)
	}
	tw.Flush()
	fmt.Fprint(w, "\n`outboard help COMMAND` explains one.\n")
}

// complain reports a command line that cannot be obeyed.
func complain(std stdio, format string, args ...any) int {
	fmt.Fprintf(std.err, "outboard: "+format+"\n", args...)
	return exitUsage
}

// newFlags returns the flag set of the named command. It prints nothing by
// itself: parse does.
func newFlags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// parse reads the flags of a command. When it returns false the command ends
// with the returned code: help was asked for, or a flag is wrong.
func parse(std stdio, fs *flag.FlagSet, args []string) (code int, ok bool) {
	err := fs.Parse(args)
	switch {
	case err == nil:
		return exitOK, true
	case errors.Is(err, flag.ErrHelp):
		describe(std.out, fs)
		return exitOK, false
	}
	return complain(std, "%s: %v; `outboard help %s` lists the flags", fs.Name(), err, fs.Name()), false
}

// describe prints how the command that owns fs is used.
func describe(w io.Writer, fs *flag.FlagSet) {
	c, _ := lookup(fs.Name())
	fmt.Fprintf(w, "usage: %s\n\n%s.\n", strings.TrimSpace("outboard "+c.name+" "+c.args), c.summary)
	fs.SetOutput(w)
	fs.PrintDefaults()
}
