package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"outboard/verbs"
	"outboard/verbs/fabric"
)

// invoke runs a command line as the program would.
func invoke(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = dispatch(stdio{strings.NewReader(stdin), &out, &err}, args)
	return code, out.String(), err.String()
}

// write makes a file and returns its path.
func write(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLines(t *testing.T) {
	dir := t.TempDir()
	plain := write(t, dir, "plain", "no program", 0o600)
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string // a part of it; "" means that there is none
		stderr string
	}{
		{"nothing", nil, 2, "", "usage: outboard COMMAND"},
		{"unknown command", []string{"fly"}, 2, "", `unknown command "fly"`},
		{"help", []string{"help"}, 0, "Print the version", ""},
		{"-h", []string{"-h"}, 0, "usage: outboard COMMAND", ""},
		{"--help", []string{"--help"}, 0, "usage: outboard COMMAND", ""},
		{"help run", []string{"help", "run"}, 0, "usage: outboard run -n N [flags] PROGRAM", ""},
		{"run -h", []string{"run", "-h"}, 0, "put [rank] in front of each line", ""},
		{"help help", []string{"help", "help"}, 0, "usage: outboard help [COMMAND]", ""},
		{"help for the unknown", []string{"help", "fly"}, 2, "", `unknown command "fly"`},
		{"too much help", []string{"help", "run", "info"}, 2, "", "want at most one command"},
		{"version", []string{"version"}, 0, "outboard ", ""},
		{"version of what", []string{"version", "x"}, 2, "", `unexpected argument "x"`},
		{"info", []string{"info"}, 0, verbs.Emulated, ""},
		{"info about what", []string{"info", "x"}, 2, "", `unexpected argument "x"`},
		{"info flag", []string{"info", "-x"}, 2, "", "flag provided but not defined: -x"},
		{"info of the emulated device", []string{"info", "-d", "emu0"}, 0, "hca_id:\temu0\n\ttransport:\t\t\tInfiniBand (0)\n", ""},
		{"info of no device", []string{"info", "-d", "emu1"}, 2, "", "info: -d emu1: want a device of this machine: emu0"},
		{"list of devices", []string{"info", "-l"}, 0, "found:\n\temu0\n", ""},
		{"list of a device", []string{"info", "-l", "-d", "emu0"}, 2, "", "info: -l and -d emu0: want one of them"},

		{"run", []string{"run"}, 2, "", "run: no program"},
		{"run nothing", []string{"run", "-n", "2"}, 2, "", "run: no program"},
		{"unknown flag", []string{"run", "-fly", "true"}, 2, "", "flag provided but not defined: -fly"},
		{"no ranks", []string{"run", "-n", "0", "true"}, 2, "", `invalid value "0" for flag -n: want a number from 1 to 4096`},
		{"negative ranks", []string{"run", "-n", "-3", "true"}, 2, "", `invalid value "-3" for flag -n`},
		{"ranks in letters", []string{"run", "-n", "abc", "true"}, 2, "", `invalid value "abc" for flag -n`},
		{"too many ranks", []string{"run", "-np", "4097", "true"}, 2, "", `invalid value "4097" for flag -np`},
		{"ranks without a number", []string{"run", "-n"}, 2, "", "flag needs an argument: -n"},
		{"unknown binding", []string{"run", "-bind", "socket", "true"}, 2, "", `"socket"`},
		{"no time", []string{"run", "-grace", "soon", "true"}, 2, "", `invalid value "soon" for flag -grace`},
		{"negative time", []string{"run", "-grace", "-1s", "true"}, 2, "", "-grace -1s: want no negative time"},
		{"no variable", []string{"run", "-env", "X", "true"}, 2, "", "want NAME=VALUE"},
		{"no such folder", []string{"run", "-dir", "/no/such", "true"}, 2, "", "-dir /no/such: want a folder"},
		{"missing program", []string{"run", "no-such-program"}, 2, "", `program "no-such-program": want a program in PATH`},
		{"missing file", []string{"run", "./no-such-program"}, 2, "", "want a file that exists"},
		{"not executable", []string{"run", plain}, 2, "", "want a file that may be executed"},

		{"success", []string{"run", "-n", "2", "true"}, 0, "", ""},
		{"failure", []string{"run", "-n", "2", "sh", "-c", "exit 3"}, 3, "", "exited with code 3 and printed nothing"},
		{"last words", []string{"run", "sh", "-c", "echo bye; exit 3"}, 3, "bye\n", "it printed last:\n  | bye\n"},
		{"signal", []string{"run", "sh", "-c", "kill -SEGV $$"}, 139, "", "rank 0 (pid "},
		{"tag", []string{"run", "-n", "2", "-tag", "sh", "-c", "echo $PMI_RANK of $PMI_SIZE"}, 0, "[1] 1 of 2\n", ""},
		{"arguments that look like flags", []string{"run", "echo", "-n", "2", "x"}, 0, "2 x", ""},
		{"end of the flags", []string{"run", "-n", "1", "--", "echo", "x"}, 0, "x\n", ""},
		{"variables", []string{"run", "-env", "A=1", "-env", "B=x=y", "sh", "-c", "echo $A $B"}, 0, "1 x=y\n", ""},
		{"folder", []string{"run", "-dir", "/", "pwd"}, 0, "/\n", ""},
		{"input", []string{"run", "-n", "2", "cat"}, 0, "the input", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := invoke("the input", test.args...)
			if code != test.code {
				t.Errorf("code %d, want %d", code, test.code)
			}
			check := func(stream, got, want string) {
				if want == "" && got != "" || !strings.Contains(got, want) {
					t.Errorf("%s is %q, want a part %q", stream, got, want)
				}
			}
			check("standard output", stdout, test.stdout)
			check("standard error", stderr, test.stderr)
		})
	}
}

// Every command of the table explains itself.
func TestHelpOfAll(t *testing.T) {
	for _, c := range commands {
		code, stdout, stderr := invoke("", "help", c.name)
		if code != 0 || !strings.HasPrefix(stdout, "usage: outboard "+c.name) || stderr != "" {
			t.Errorf("%s: code %d, %q, %q", c.name, code, stdout, stderr)
		}
		if c.summary == "" || strings.HasSuffix(c.summary, ".") {
			t.Errorf("%s: summary %q", c.name, c.summary)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int]string{0: "0 B", 96: "96 B", 1024: "1 KiB", 1536: "1536 B", 8 << 20: "8 MiB", 1 << 40: "1 TiB", 3 << 50: "3072 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

// A fabric that cannot be opened is shown, and the command says so.
func TestInfoBrokenFabric(t *testing.T) {
	saved := fabrics
	t.Cleanup(func() { fabrics = saved })
	broken := saved[0]
	broken.open = func() (fabric.Port, error) { return nil, fmt.Errorf("no memory") }
	fabrics = append(fabrics[:0:0], broken, saved[1])
	code, stdout, _ := invoke("", "info")
	if code != exitFail || !strings.Contains(stdout, "no memory") || !strings.Contains(stdout, "Fabric shm") {
		t.Errorf("code %d, %s", code, stdout)
	}
}
