package pmi

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMessage(t *testing.T) {
	tests := []struct {
		name, line string
		want       Message
	}{
		{"only a command", "cmd=get_maxes", Message{Cmd: "get_maxes"}},
		{"fields", "cmd=put kvsname=k key=a value=b", Message{"put", []Field{{"kvsname", "k"}, {"key", "a"}, {"value", "b"}}}},
		{"command last", "rc=0 cmd=response_to_init", Message{"response_to_init", []Field{{"rc", "0"}}}},
		{"many spaces", "  cmd=set   rank=3 ", Message{"set", []Field{{"rank", "3"}}}},
		{"equals sign in a value", "cmd=get_result value=YQ==", Message{"get_result", []Field{{"value", "YQ=="}}}},
		{"mapping", "cmd=get_result value=(vector,(0,1,2))", Message{"get_result", []Field{{"value", "(vector,(0,1,2))"}}}},
		{"empty value", "cmd=put key=a value=", Message{"put", []Field{{"key", "a"}, {"value", ""}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseMessage(test.line)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseMessageRefuses(t *testing.T) {
	tests := []struct{ name, line string }{
		{"nothing", ""},
		{"spaces", "   "},
		{"no command", "rc=0"},
		{"empty command", "cmd= rc=0"},
		{"no equals sign", "cmd=get key"},
		{"empty key", "cmd=get =x"},
		{"two commands", "cmd=get cmd=put"},
		{"a key twice", "cmd=get key=a key=b"},
		{"tab", "cmd=get\tkey=a"},
		{"zero byte", "cmd=get key=a\x00"},
		{"carriage return", "cmd=get\r"},
		{"too long", "cmd=get key=" + strings.Repeat("x", MaxLine)},
		{"too many fields", "cmd=get" + manyFields(maxFields+1)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if m, err := ParseMessage(test.line); !errors.Is(err, ErrProtocol) {
				t.Errorf("got %v, %v; want ErrProtocol", m, err)
			}
		})
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(" k" + strings.Repeat("x", i) + "=v")
	}
	return b.String()
}

func TestReadLine(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	r := newLineReader(strings.NewReader("one\n\ntwo"))
	for _, want := range []string{"one", ""} {
		if got, err := readLine(r); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if _, err := readLine(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a stream that ends inside a line: %v", err)
	}
	if _, err := readLine(newLineReader(strings.NewReader(""))); !errors.Is(err, io.EOF) {
		t.Errorf("an empty stream: %v", err)
	}
	if _, err := readLine(newLineReader(strings.NewReader(long + "\n"))); !errors.Is(err, ErrProtocol) {
		t.Errorf("a line of %d bytes: %v", len(long), err)
	}
}

func TestMessageInt(t *testing.T) {
	m := Message{"set", []Field{{"a", "-7"}, {"b", "x"}, {"c", "99999999999"}, {"d", ""}}}
	if n, err := m.Int("a"); n != -7 || err != nil {
		t.Errorf("a = %d, %v", n, err)
	}
	for _, key := range []string{"b", "c", "d", "absent"} {
		if n, err := m.Int(key); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s = %d, %v; want ErrProtocol", key, n, err)
		}
	}
}

func TestParseMapping(t *testing.T) {
	tests := []struct {
		name, mapping string
		size          int
		want          []int
	}{
		{"one node", "(vector,(0,1,3))", 3, []int{0, 0, 0}},
		{"two nodes", "(vector,(0,2,2))", 4, []int{0, 0, 1, 1}},
		{"blocks", "(vector,(0,1,2),(1,2,1))", 4, []int{0, 0, 1, 2}},
		{"round again", "(vector,(0,2,1))", 5, []int{0, 1, 0, 1, 0}},
		{"unused rest", "(vector,(3,1000,1000))", 2, []int{3, 3}},
		{"nobody", "(vector,(0,1,1))", 0, []int{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseMapping(test.mapping, test.size)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, bad := range []string{
		"", "vector", "(vector)", "(vector,)", "(vector,(0,1))", "(vector,(0,1,1)", "(vector,(0,0,1))", "(vector,(0,1,0))",
		"(vector,(-1,1,1))", "(vector,(a,1,1))", "(vector,(0,1,1,1))", "(vector,(0,1,99999999999))", "(matrix,(0,1,1))", "(vector(0,1,1))",
	} {
		if nodes, err := ParseMapping(bad, 4); !errors.Is(err, ErrProtocol) {
			t.Errorf("ParseMapping(%q) = %v, %v; want ErrProtocol", bad, nodes, err)
		}
	}
	if nodes, err := ParseMapping("(vector,(0,1,1))", -1); !errors.Is(err, ErrProtocol) {
		t.Errorf("size -1: %v, %v; want ErrProtocol", nodes, err)
	}
}

// A line that is understood reads back the same once it is written.
func FuzzParseMessage(f *testing.F) {
	for _, seed := range []string{
		"cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0",
		"cmd=get_result rc=-1 msg=key_zzz_not_found value=unknown",
		"cmd=get_result rc=0 value=(vector,(0,1,1))", "mcmd=spawn", "cmd=", "=", " cmd=a\x00 b=c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, err := ParseMessage(line)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatalf("%q: %v is not ErrProtocol", line, err)
			}
			return
		}
		again, err := readMessage(newLineReader(strings.NewReader(m.String() + "\n")))
		if err != nil {
			t.Fatalf("%q became %q: %v", line, m, err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParseMapping(f *testing.F) {
	f.Add("(vector,(0,1,1))", 2)
	f.Add("(vector,(0,2,2),(7,1,1))", 9)
	f.Add("(vector,(0,0,0))", 3)
	f.Fuzz(func(t *testing.T, s string, size int) {
		size %= 1000
		nodes, err := ParseMapping(s, size)
		if err == nil && len(nodes) != size {
			t.Fatalf("%d nodes for %d ranks", len(nodes), size)
		}
		for _, n := range nodes {
			if n < 0 {
				t.Fatalf("node %d", n)
			}
		}
	})
}

// Whatever a rank sends, its conversation ends, and every answer is a message.
func FuzzServer(f *testing.F) {
	f.Add("cmd=init pmi_version=1 pmi_subversion=1\ncmd=get_maxes\ncmd=put kvsname=kvs_test key=a value=b\ncmd=get kvsname=kvs_test key=a\ncmd=barrier_in\ncmd=finalize\n")
	f.Add("mcmd=spawn\nx\nendcmd\ncmd=abort exitcode=x\n")
	f.Add("cmd=nonsense\n\n")
	f.Fuzz(func(t *testing.T, input string) {
		server, err := NewServer(Config{Name: "kvs_test", Ranks: 1})
		if err != nil {
			t.Fatal(err)
		}
		s := session{server: server}
		r := newLineReader(strings.NewReader(input))
		for {
			line, err := readLine(r)
			if err != nil {
				return
			}
			reply, err := s.answer(line)
			if err != nil {
				return
			}
			if reply.Cmd == "" {
				continue
			}
			if _, err := readMessage(bufio.NewReaderSize(strings.NewReader(reply.String()+"\n"), MaxLine)); err != nil {
				t.Fatalf("%q was answered with %q: %v", line, reply, err)
			}
		}
	})
}
