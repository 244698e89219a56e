package bench

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseSizes(t *testing.T) {
	for _, test := range []struct {
		list string
		want []int
	}{
		{"8", []int{8}},
		{"0", []int{0}},
		{"8,1K, 64KiB ,1m", []int{8, 1 << 10, 64 << 10, 1 << 20}},
		{"2KB,3B,1gib", []int{2 << 10, 3, 1 << 30}},
		{"8:64", []int{8, 16, 32, 64}},
		{"8:63", []int{8, 16, 32}},
		{"1K:1M:32", []int{1 << 10, 32 << 10, 1 << 20}},
		{"1G:2147483647", []int{1 << 30}},
		{"4:4,5", []int{4, 5}},
		{"2147483647", []int{MaxSize}},
	} {
		t.Run(test.list, func(t *testing.T) {
			got, err := ParseSizes(test.list)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestParseErrorsNameTheItem(t *testing.T) {
	sizes := func(s string) error { _, err := ParseSizes(s); return err }
	ranks := func(s string) error { _, err := ParseRanks(s); return err }
	fabrics := func(s string) error { _, err := ParseFabrics(s); return err }
	for _, test := range []struct {
		name  string
		parse func(string) error
		list  string
		bad   string
	}{
		{"no size", sizes, "", `""`},
		{"a word", sizes, "8,abc", `"abc"`},
		{"negative", sizes, "-8", `"-8"`},
		{"a unit alone", sizes, "K", `"K"`},
		{"an unknown unit", sizes, "8Ki", `"8Ki"`},
		{"units twice", sizes, "8KK", `"8KK"`},
		{"too large", sizes, "2G", `"2G"`},
		{"much too large", sizes, "99999999999999999999", `"99999999999999999999"`},
		{"overflowing", sizes, "2147483647G", `"2147483647G"`},
		{"downwards", sizes, "8,64:8", `"64:8"`},
		{"from zero", sizes, "0:8", `"0:8"`},
		{"factor one", sizes, "1:8:1", `"1:8:1"`},
		{"factor no number", sizes, "1:8:x", `"x"`},
		{"four fields", sizes, "1:2:3:4", `"1:2:3:4"`},
		{"no ranks", ranks, "2,", `""`},
		{"zero ranks", ranks, "0", `"0"`},
		{"negative ranks", ranks, "-1", `"-1"`},
		{"ranks in words", ranks, "2,two", `"two"`},
		{"too many ranks", ranks, "1000000", `"1000000"`},
		{"an unknown fabric", fabrics, "shm,tcp", `"tcp"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.parse(test.list)
			if !errors.Is(err, ErrCase) || !strings.Contains(err.Error(), test.bad) {
				t.Errorf("error is %v, want one that names %s", err, test.bad)
			}
		})
	}
}

func TestFormatSize(t *testing.T) {
	for size, want := range map[int]string{
		0: "0 B", 8: "8 B", 1023: "1023 B", 1024: "1 KiB", 1500: "1500 B", 3 << 19: "1536 KiB", 1 << 20: "1 MiB", 1 << 30: "1 GiB",
	} {
		if got := FormatSize(size); got != want {
			t.Errorf("FormatSize(%d) is %q, want %q", size, got, want)
		}
	}
}

func FuzzParseSizes(f *testing.F) {
	for _, seed := range []string{"8", "1K:1M:4", "8,,", "1:2147483647", "9G", "1:1:9223372036854775807"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		sizes, err := ParseSizes(list)
		if err != nil {
			if !errors.Is(err, ErrCase) {
				t.Errorf("error %v does not wrap ErrCase", err)
			}
			return
		}
		for _, size := range sizes {
			if size < 0 || size > MaxSize {
				t.Errorf("size %d is out of range", size)
			}
			if again, err := ParseSizes(compact(size)); err != nil || again[0] != size {
				t.Errorf("%d came back as %v, %v", size, again, err)
			}
		}
	})
}

// compact is FormatSize without the blank, as ParseSizes reads it.
func compact(size int) string { return strings.ReplaceAll(FormatSize(size), " ", "") }
