// Package fabrictest is the suite that every fabric passes.
//
// A test consists of commands to two agents, each of which owns a port. Run keeps both in this
// process; RunProcesses moves the second into a child process, which is the test binary
// started again: its TestMain calls Main. So one text of each test says what must
// hold within a process and between processes.
package fabrictest
