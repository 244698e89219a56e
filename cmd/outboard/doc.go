// Command outboard starts, measures and describes programs that run on the
// outboard runtime.
//
//	outboard run -n 4 ./examples/pi     start four ranks of a program
//	outboard info -v                    what this machine offers: devices as ibv_devinfo shows them, fabrics, limits
//	outboard help COMMAND               how a command is used
//
// Every subcommand is one entry of the table commands, added by the file that
// implements it. A command reads its own flags, writes results to standard
// output and complaints to standard error, and returns the exit code: 0 for
// success, 2 for a command line that cannot be obeyed, and anything else for
// work that failed. `outboard run` returns what the job returned.
package main
