package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseSizes reads a list of message sizes in bytes, such as "8,1K,64K:1M". A number may end in K, M or G (1024 bytes and so
// on; KiB and KB mean the same, as does a B alone). FROM:TO doubles from the one until the other is passed; FROM:TO:FACTOR
// multiplies by another factor. Errors name the item and wrap [ErrCase].
func ParseSizes(list string) ([]int, error) {
	var sizes []int
	for item := range strings.SplitSeq(list, ",") {
		part, err := parseSizeItem(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("%w: size %q: %w", ErrCase, item, err)
		}
		sizes = append(sizes, part...)
	}
	return sizes, nil
}

func parseSizeItem(item string) ([]int, error) {
	fields := strings.Split(item, ":")
	if len(fields) > 3 {
		return nil, fmt.Errorf("want SIZE, FROM:TO or FROM:TO:FACTOR")
	}
	from, err := parseSize(fields[0])
	if err != nil || len(fields) == 1 {
		return []int{from}, err
	}
	to, err := parseSize(fields[1])
	if err != nil {
		return nil, err
	}
	factor := 2
	if len(fields) == 3 {
		if factor, err = strconv.Atoi(fields[2]); err != nil || factor < 2 || factor > MaxSize {
			return nil, fmt.Errorf("the factor %q must be a whole number of at least 2", fields[2])
		}
	}
	if from < 1 || to < from {
		return nil, fmt.Errorf("a range goes up from at least 1")
	}
	var sizes []int
	for size := from; size <= to; size *= factor {
		sizes = append(sizes, size)
	}
	return sizes, nil
}

func parseSize(s string) (int, error) {
	number := strings.TrimRight(s, "BbIiKkMmGg")
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is no number of bytes up to %d, such as 8, 64K or 1M", s, MaxSize)
	}
	var shift uint
	switch suffix := strings.ToUpper(s[len(number):]); suffix {
	case "", "B":
	case "K", "KB", "KIB":
		shift = 10
	case "M", "MB", "MIB":
		shift = 20
	case "G", "GB", "GIB":
		shift = 30
	default:
		return 0, fmt.Errorf("%q has an unknown unit, want K, M or G", s)
	}
	if n<<shift > MaxSize {
		return 0, fmt.Errorf("%q is more than %d bytes", s, MaxSize)
	}
	return int(n << shift), nil
}

// FormatSize writes a size for people: "8 B", "64 KiB", "1.5 MiB" as "1536 KiB".
func FormatSize(size int) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	u := 0
	for size >= 1024 && size%1024 == 0 && u < len(units)-1 {
		size /= 1024
		u++
	}
	return strconv.Itoa(size) + " " + units[u]
}

// MaxRanks is the largest world that is started.
const MaxRanks = 4096

// ParseRanks reads a list of numbers of ranks, such as "2,4". Errors name the item and wrap [ErrCase].
func ParseRanks(list string) ([]int, error) {
	var ranks []int
	for item := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(item))
		if err != nil || n < 1 || n > MaxRanks {
			return nil, fmt.Errorf("%w: %q ranks, want a number from 1 to %d", ErrCase, item, MaxRanks)
		}
		ranks = append(ranks, n)
	}
	return ranks, nil
}

// ParseFabrics reads a list of fabrics, such as "inproc,shm". Errors name the item and wrap [ErrCase].
func ParseFabrics(list string) ([]Fabric, error) {
	var fabrics []Fabric
	for item := range strings.SplitSeq(list, ",") {
		f := Fabric(strings.TrimSpace(item))
		if f != Inproc && f != Shm {
			return nil, fmt.Errorf("%w: fabric %q, want %s or %s", ErrCase, item, Inproc, Shm)
		}
		fabrics = append(fabrics, f)
	}
	return fabrics, nil
}
