package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

func init() {
	commands = append(commands,
		command{name: "help", args: "[COMMAND]", summary: "Explain outboard or one of its commands", run: help},
		command{name: "version", summary: "Print the version", run: version},
	)
}

// help prints the list of commands, or the usage of one.
func help(std stdio, args []string) int {
	switch len(args) {
	case 0:
		usage(std.out)
		return exitOK
	case 1:
	default:
		return complain(std, "help: %d arguments, want at most one command", len(args))
	}
	if args[0] == "help" {
		fmt.Fprint(std.out, "usage: outboard help [COMMAND]\n")
		return exitOK
	}
	c, ok := lookup(args[0])
	if !ok {
		return complain(std, "unknown command %q; `outboard help` lists them", args[0])
	}
	return c.run(std, []string{"-h"})
}

// version prints what the build recorded about itself.
func version(std stdio, args []string) int {
	fs := newFlags("version")
	if code, ok := parse(std, fs, args); !ok {
		return code
	}
	if fs.NArg() > 0 {
		return complain(std, "version: unexpected argument %q", fs.Arg(0))
	}
	build := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		build = info.Main.Version
	}
	fmt.Fprintf(std.out, "outboard %s %s %s/%s\n", build, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}
