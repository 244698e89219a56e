package verbs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestQuietHidesPanics(t *testing.T) {
	if got := quiet(func() []string { return []string{"a"}[:2] }); got != nil {
		t.Errorf("a look that panics found %v, want nothing", got)
	}
	if got := quiet(func() []string { return []string{"a"} }); len(got) != 1 {
		t.Errorf("a look found %v, want a", got)
	}
}

func TestSysfsFiles(t *testing.T) {
	dir := sysfsDir(t.TempDir())
	for _, tt := range []struct {
		name, content string
		text          string
		hex           uint64
		isHex         bool
		code          int
		meaning       string
		guid          GUID
	}{
		{name: "empty"},
		{name: "blank", content: " \n"},
		{name: "text", content: "16.35.1012\n", text: "16.35.1012"},
		{name: "spaces", content: " a b \n", text: "a b"},
		{name: "two lines", content: "a\nb\n"},
		{name: "binary", content: "\x00\x01"},
		{name: "not ASCII", content: "ä\n"},
		{name: "a page", content: strings.Repeat("x", sysfsMax), text: strings.Repeat("x", sysfsMax)},
		{name: "more than a page", content: strings.Repeat("x", sysfsMax+1)},
		{name: "hexadecimal", content: "0x1f\n", text: "0x1f", hex: 0x1f, isHex: true},
		{name: "hexadecimal without 0x", content: "ff", text: "ff", hex: 0xff, isHex: true},
		{name: "hexadecimal of 17 bits", content: "0x10000", text: "0x10000"},
		{name: "negative", content: "-1", text: "-1"},
		{name: "coded", content: "4: ACTIVE\n", text: "4: ACTIVE", code: 4, meaning: "ACTIVE"},
		{name: "coded without a meaning", content: "4:\n", text: "4:"},
		{name: "coded without a number", content: ": ACTIVE", text: ": ACTIVE"},
		{name: "coded with a sign", content: "-4: ACTIVE", text: "-4: ACTIVE"},
		{name: "coded with leading zeros", content: "04: ACTIVE", text: "04: ACTIVE"},
		{name: "coded with a huge number", content: "4000000000: ACTIVE", text: "4000000000: ACTIVE"},
		{name: "GUID", content: "0c42:a103:0065:8F40\n", text: "0c42:a103:0065:8F40", guid: GUID{0x0c, 0x42, 0xa1, 0x03, 0, 0x65, 0x8f, 0x40}},
		{name: "GUID of three groups", content: "0c42:a103:0065", text: "0c42:a103:0065"},
		{name: "GUID of five groups", content: "0c42:a103:0065:8f40:0000", text: "0c42:a103:0065:8f40:0000"},
		{name: "GUID with a short group", content: "0c42:a103:65:8f40", text: "0c42:a103:65:8f40"},
		{name: "GUID with a letter", content: "0c42:a103:0065:8f4g", text: "0c42:a103:0065:8f4g"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(string(dir), "f"), []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := dir.text("f"); got != tt.text {
				t.Errorf("text %q, want %q", got, tt.text)
			}
			if n, ok := dir.hex("f", 16); ok != tt.isHex || ok && n != tt.hex {
				t.Errorf("number %#x, %v, want %#x, %v", n, ok, tt.hex, tt.isHex)
			}
			if n, m, ok := dir.coded("f"); ok != (tt.meaning != "") || ok && (n != tt.code || m != tt.meaning) {
				t.Errorf("coded %d %q %v, want %d %q", n, m, ok, tt.code, tt.meaning)
			}
			if got := dir.guid("f"); got != tt.guid {
				t.Errorf("GUID %v, want %v", got, tt.guid)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, okHex := dir.hex("no", 64)
		_, _, okCoded := dir.coded("no")
		if dir.text("no") != "" || okHex || okCoded || dir.guid("no") != (GUID{}) || dir.tableLen("no") != 0 {
			t.Error("a file that is missing was read")
		}
	})
	t.Run("folder", func(t *testing.T) {
		if got := dir.text("."); got != "" {
			t.Errorf("a folder was read as %q", got)
		}
	})
	t.Run("table", func(t *testing.T) {
		for _, name := range []string{"0", "1", "02", "2", "4", "x", "-1"} {
			if err := os.WriteFile(filepath.Join(string(dir), name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := dir.tableLen("."); got != 3 {
			t.Errorf("a table with entries 0, 1, 2 and 4 has %d, want 3", got)
		}
	})
}

// What is read as a GID is written as it was, in lower case.
func FuzzParseGID(f *testing.F) {
	f.Add("fe80:0000:0000:0000:0250:56ff:fe00:000A")
	f.Add("fe80::1")
	f.Add("::::::::")
	f.Fuzz(func(t *testing.T, s string) {
		g, ok := parseGID(s)
		if ok && g.String() != strings.ToLower(s) {
			t.Fatalf("%q is read as %v", s, g)
		}
	})
}
