package pmi

import (
	"fmt"
	"strconv"
	"strings"
)

// mappingKey is the key under which a launcher publishes where the ranks are.
const mappingKey = "PMI_process_mapping"

// ParseMapping reads a process mapping such as "(vector,(0,2,4))" and returns
// the node of each of size ranks. A block (first,nodes,ranks) puts so many
// consecutive ranks on each of so many consecutive nodes; when the blocks are
// used up before the ranks are, they start again. The error is an *Error with
// ErrProtocol.
func ParseMapping(s string, size int) ([]int, error) {
	bad := func() error {
		return protocolError("mapping", "", s, "(vector,(first,nodes,ranks)…)")
	}
	body, ok := strings.CutPrefix(s, "(vector")
	if body, ok = cutLast(body, ok); !ok {
		return nil, bad()
	}
	var blocks [][3]int
	for body != "" {
		rest, ok := strings.CutPrefix(body, ",(")
		inside, after, closed := strings.Cut(rest, ")")
		block, err := parseBlock(inside)
		if !ok || !closed || err != nil {
			return nil, bad()
		}
		blocks, body = append(blocks, block), after
	}
	if len(blocks) == 0 || size < 0 {
		return nil, bad()
	}
	nodes := make([]int, 0, size)
	for {
		for _, b := range blocks {
			for i := range b[1] * b[2] {
				if len(nodes) == size {
					return nodes, nil
				}
				nodes = append(nodes, b[0]+i/b[2])
			}
		}
	}
}

// cutLast removes the closing parenthesis.
func cutLast(s string, ok bool) (string, bool) {
	s, cut := strings.CutSuffix(s, ")")
	return s, ok && cut
}

// parseBlock reads "first,nodes,ranks": first at least 0, the others at least
// 1, all small enough that products do not overflow.
func parseBlock(s string) (block [3]int, err error) {
	parts := strings.Split(s, ",")
	if len(parts) != len(block) {
		return block, ErrProtocol
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 20)
		if err != nil || i > 0 && n == 0 {
			return block, ErrProtocol
		}
		block[i] = int(n)
	}
	return block, nil
}

// formatMapping is the mapping of ranks on one node.
func formatMapping(ranks int) string {
	return fmt.Sprintf("(vector,(0,1,%d))", ranks)
}
