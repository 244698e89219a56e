package mm_test

import (
	"fmt"
	"strings"

	"outboard/examples/cg/internal/mm"
)

func ExampleRead() {
	m, err := mm.Read("spring.mtx", strings.NewReader(`%%MatrixMarket matrix coordinate real symmetric
% two springs in series
2 2 3
1 1  2
2 1 -1
2 2  1
`))
	fmt.Println(m.Ptr, m.Col, m.Val, err)

	_, err = mm.Read("bad.mtx", strings.NewReader("%%MatrixMarket matrix coordinate real general\n1 1 1\n1 2 5\n"))
	fmt.Println(err)
	// Output:
	// [0 2 4] [0 1 0 1] [2 -1 -1 1] <nil>
	// bad.mtx:3: "1 2 5": column is "2", want an integer from 1 to 1
}
