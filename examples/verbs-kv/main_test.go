package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"outboard/verbs"
	"outboard/verbs/cm"
)

// TestMain is the program itself, or a client that fills its part of a table, in a process that a test has started.
func TestMain(m *testing.M) {
	switch role := os.Getenv("VERBS_KV"); {
	case role == "program":
		main()
	case role != "":
		if err := fillFrom(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		goleak.VerifyTestMain(m)
	}
}

// modes are the ways in which the NICs talk.
var modes = map[string]config{"direct": {}, "packets": {packets: true}}

// withTable runs f with a server of so many slots.
func withTable(t *testing.T, c config, slots int, f func(address string) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := c.withDevice(func(dev *verbs.Context) error {
		s, err := newServer(dev, ":0", slots)
		if err != nil {
			return err
		}
		served := make(chan error, 1)
		go func() { served <- s.serve(ctx) }()
		err = f(s.l.Addr())
		cancel()
		return errors.Join(err, <-served)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// withClient runs f with a client on a NIC of its own.
func withClient(c config, address string, f func(*client) error) error {
	return c.withDevice(func(dev *verbs.Context) error {
		k, err := dial(context.Background(), dev, address)
		if err != nil {
			return err
		}
		return errors.Join(f(k), k.close())
	})
}

const shared = 3 // keys that all clients write

// value is one that shows if it is torn: the same number all over, to the full length.
func value(who, n int) string {
	return strings.Repeat(fmt.Sprintf("%d.%06d ", who, n), maxValue)[:maxValue]
}

// author takes a value apart.
func author(v string) (who, n int, err error) {
	if _, err := fmt.Sscanf(v, "%d.%d ", &who, &n); err != nil || v != value(who, n) {
		return 0, 0, fmt.Errorf("torn value %q", v)
	}
	return who, n, nil
}

// TestClients has four clients insert, replace and look up at once, keys of their own and shared ones. A client's own keys have what it
// wrote last, by a map; shared ones what somebody wrote, whole, and from each author never an older value after a newer.
func TestClients(t *testing.T) {
	for name, c := range modes {
		t.Run(name, func(t *testing.T) {
			const n, keys = 4, 20
			rounds := 400
			if c.packets {
				rounds = 60
			}
			oracles := make([]map[string]string, n)
			last := make([][shared]int, n) // by author and key
			withTable(t, c, 128, func(address string) error {
				var done sync.WaitGroup
				errs := make([]error, n)
				for who := range n {
					done.Go(func() {
						oracles[who] = map[string]string{}
						errs[who] = withClient(c, address, func(k *client) error {
							return play(k, who, rounds, keys, oracles[who], &last[who])
						})
					})
				}
				done.Wait()
				if err := errors.Join(errs...); err != nil {
					return err
				}
				return withClient(c, address, func(k *client) error { return checkAll(k, oracles, last) })
			})
		})
	}
}

// expect looks a key up.
func expect(k *client, key, want string, wantFound bool) error {
	got, found, err := k.get(key)
	if err == nil && (got != want || found != wantFound) {
		err = fmt.Errorf("%s: got %q (found %v), want %q (%v)", key, got, found, want, wantFound)
	}
	return err
}

func play(k *client, who, rounds, keys int, oracle map[string]string, last *[shared]int) error {
	luck := rand.New(rand.NewPCG(uint64(who), 7))
	var seen [shared][4]int
	for n := 1; n <= rounds; n++ {
		own := fmt.Sprintf("key %d of %d", luck.IntN(keys), who)
		i := luck.IntN(shared)
		common := fmt.Sprintf("shared %d", i)
		switch luck.IntN(4) {
		case 0:
			if err := k.put(own, value(who, n)); err != nil {
				return err
			}
			oracle[own] = value(who, n)
		case 1:
			if err := k.put(common, value(who, n)); err != nil {
				return err
			}
			last[i] = n
		case 2:
			want, ok := oracle[own]
			if err := expect(k, own, want, ok); err != nil {
				return err
			}
		case 3:
			got, found, err := k.get(common)
			if err != nil {
				return err
			} else if !found {
				continue
			}
			by, m, err := author(got)
			if err != nil {
				return err
			}
			if by < 0 || by > 3 || m < seen[i][by] || by == who && m != last[i] {
				return fmt.Errorf("%s: value %d of client %d after %v", common, m, by, seen[i])
			}
			seen[i][by] = m
		}
	}
	return nil
}

func checkAll(k *client, oracles []map[string]string, last [][shared]int) error {
	for _, oracle := range oracles {
		for key, want := range oracle {
			if err := expect(k, key, want, true); err != nil {
				return err
			}
		}
	}
	for i := range shared {
		got, found, err := k.get(fmt.Sprintf("shared %d", i))
		if err != nil || !found {
			return errors.Join(err, fmt.Errorf("shared key %d: found %v", i, found))
		}
		who, n, err := author(got)
		if err != nil {
			return err
		}
		if last[who][i] != n {
			return fmt.Errorf("shared key %d: value %d of client %d, want %d, the last that it wrote", i, n, who, last[who][i])
		}
	}
	return nil
}

// fillFrom is a client in a process of its own: "direct ADDRESS NUMBER".
func fillFrom(role string) error {
	f := strings.Fields(role)
	who, err := strconv.Atoi(f[2])
	if err != nil {
		return err
	}
	return withClient(modes[f[0]], f[1], func(k *client) error {
		for i := range 50 {
			if err := k.put(fmt.Sprintf("key %d of %d", i, who), value(who, i)); err != nil {
				return err
			}
			if err := k.put("shared", value(who, i)); err != nil {
				return err
			}
			if v, _, err := k.get("shared"); err != nil {
				return err
			} else if _, _, err := author(v); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestProcesses has four processes fill a table of this one.
func TestProcesses(t *testing.T) {
	for name, c := range modes {
		t.Run(name, func(t *testing.T) {
			withTable(t, c, 256, func(address string) error {
				var done sync.WaitGroup
				errs := make([]error, 4)
				for who := range errs {
					done.Go(func() {
						cmd := exec.Command(os.Args[0])
						cmd.Env = append(os.Environ(), fmt.Sprintf("VERBS_KV=%s %s %d", name, address, who))
						out, err := cmd.CombinedOutput()
						if err != nil {
							errs[who] = fmt.Errorf("client %d: %w: %s", who, err, out)
						}
					})
				}
				done.Wait()
				if err := errors.Join(errs...); err != nil {
					return err
				}
				return withClient(c, address, func(k *client) error {
					for who := range errs {
						for i := range 50 {
							key := fmt.Sprintf("key %d of %d", i, who)
							if err := expect(k, key, value(who, i), true); err != nil {
								return err
							}
						}
					}
					return nil
				})
			})
		})
	}
}

func TestFullAndStuck(t *testing.T) {
	for name, c := range modes {
		t.Run(name, func(t *testing.T) {
			withTable(t, c, 3, func(address string) error {
				return withClient(c, address, func(k *client) error {
					for i := range 3 {
						if err := k.put(fmt.Sprint(i), "x"); err != nil {
							return err
						}
					}
					if err := k.put("3", "x"); !errors.Is(err, errFull) {
						t.Errorf("fourth key: got %v, want errFull", err)
					}
					if err := k.put("2", "y"); err != nil {
						t.Errorf("replacing in a full table: %v", err)
					}
					if v, found, err := k.get("3"); v != "" || found || err != nil {
						t.Errorf("key that does not fit: got %q, %v, %v", v, found, err)
					}
					// A writer dies.
					i, _, _, err := k.find("2")
					if err != nil {
						return err
					}
					won, err := k.compareSwap(i, k.slot.version(), k.slot.version()+1)
					if !won || err != nil {
						return fmt.Errorf("locking: %v, %w", won, err)
					}
					k.patience = 20 * time.Millisecond
					if _, _, err := k.get("2"); !errors.Is(err, errStuck) {
						t.Errorf("locked slot: got %v, want errStuck", err)
					}
					for _, pair := range [][2]string{{"", "x"}, {strings.Repeat("k", maxKey+1), "x"}, {"k", strings.Repeat("v", maxValue+1)}} {
						if err := k.put(pair[0], pair[1]); err == nil {
							t.Errorf("key of %d bytes, value of %d: no error", len(pair[0]), len(pair[1]))
						}
					}
					return nil
				})
			})
		})
	}
}

// TestTorn mixes two states of a slot at every byte: only the whole ones may pass.
func TestTorn(t *testing.T) {
	var a, b slot
	for v, s := range map[uint64]*slot{2: &a, 4: &b} {
		s.fill(v, fmt.Sprintf("key%d", v), strings.Repeat(fmt.Sprint(v), maxValue))
		binary.NativeEndian.PutUint64(s[offVersion:], v)
	}
	if st, key, _ := a.parse(); st != full || key != "key2" {
		t.Fatalf("state %d, key %q, want key2", st, key)
	}
	for cut := 1; cut < slotLen; cut++ {
		mixed := a
		copy(mixed[:cut], b[:cut])
		if st, key, value := mixed.parse(); st != writing && mixed != a && mixed != b {
			t.Errorf("%d bytes of the other: got %q, %q, want it torn", cut, key, value)
		}
	}
}

func FuzzParse(f *testing.F) {
	var s slot
	s.fill(2, "key", "value")
	f.Add(s[:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s slot
		copy(s[:], b)
		if st, key, value := s.parse(); len(key) > maxKey || len(value) > maxValue || st != full && key+value != "" {
			t.Errorf("state %d, key %q, value %q", st, key, value)
		}
	})
}

func TestDemo(t *testing.T) {
	var out bytes.Buffer
	if err := run(context.Background(), config{slots: 64}, &out); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^4 clients inserted 8 pairs each and read them in \S+, with [1-9]\.\d\d reads a lookup\n$`).MatchString(out.String()) {
		t.Errorf("got %q", out.String())
	}
}

// TestClientFirst has a client ask before the server listens, and one that asks in vain.
func TestClientFirst(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0") // a port that nobody else wants now
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	asked := make(chan error, 1)
	go func() {
		asked <- run(context.Background(), config{args: []string{"localhost:" + port, "put", "k", "v"}}, io.Discard)
	}()
	time.Sleep(200 * time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- run(ctx, config{listen: ":" + port, slots: 4}, io.Discard) }()
	if err := <-asked; err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	start := time.Now()
	err = run(context.Background(), config{args: []string{"localhost:" + port, "get", "k"}}, io.Discard)
	if d := time.Since(start); !errors.Is(err, cm.ErrRefused) || d < time.Second || d > 10*time.Second {
		t.Errorf("nobody listens: got %v after %v, want ErrRefused after 2 s", err, d)
	}
}

// TestProgram runs server and commands as processes.
func TestProgram(t *testing.T) {
	program := func(args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		t.Cleanup(cancel)
		cmd := exec.CommandContext(ctx, os.Args[0], args...)
		cmd.Env = append(os.Environ(), "VERBS_KV=program")
		return cmd
	}
	server := program("-listen", ":0", "-slots", "1")
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "1 slots at ")
	if err != nil || !ok {
		t.Fatalf("the server says %q, %v", line, err)
	}
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"get", "fruit"}, "verbs-kv: no key \"fruit\"\n", 1},
		{[]string{"put", "fruit", "apple"}, "", 0},
		{[]string{"get", "fruit"}, "apple\n", 0},
		{[]string{"put", "tree", "oak"}, "verbs-kv: table full: 1 slots, none for key \"tree\"\n", 1},
		{[]string{"eat", "fruit"}, "verbs-kv: want -listen, or ADDRESS get KEY, or ADDRESS put KEY VALUE, or nothing\n", 1},
	} {
		cmd := program(append([]string{address}, tt.args...)...)
		out, _ := cmd.CombinedOutput()
		if string(out) != tt.want || cmd.ProcessState.ExitCode() != tt.code {
			t.Errorf("%v: %q, code %d, want %q, code %d", tt.args, out, cmd.ProcessState.ExitCode(), tt.want, tt.code)
		}
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if err := run(context.Background(), config{listen: ":0"}, io.Discard); err == nil || !strings.Contains(err.Error(), "0 slots: want 1 to") {
		t.Errorf("no slots: got %v", err)
	}
}
