package collectives_test

import (
	"errors"
	"fmt"

	"outboard/collectives"
	"outboard/nicrt"
)

// One member's part in adding up one 8-byte number over two members: it sends
// its own, and combines the other's with its own.
func ExamplePlan() {
	spec := collectives.Spec{Kind: collectives.Allreduce, Self: 1, N: 2, Count: 1, Elem: 8, Commutative: true}
	schedule, err := collectives.Plan(spec)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(schedule)

	if _, err := nicrt.Compile(schedule); err == nil {
		fmt.Println("ready to run")
	}
	// Output:
	// allreduce/doubling: member 1 of 2, input 8 B, output 8 B, scratch 0 B
	//    0  send        in[0:8] -> 0.0
	//    1  recv-reduce out[0:8] <- 0.0 op in[0:8]
	// ready to run
}

// Errors name the field that is wrong.
func ExampleSpecError() {
	_, err := collectives.Plan(collectives.Spec{Kind: collectives.Bcast, N: 4, Root: 4, Count: 1, Elem: 8})
	fmt.Println(err)

	var wrong *collectives.SpecError
	if errors.As(err, &wrong) {
		fmt.Println(wrong.Field, wrong.Value)
	}
	// Output:
	// collectives: bcast: Root is 4, expected 0 to 3
	// Root 4
}

// Algorithms can be asked for by name.
func ExampleAlgorithms() {
	fmt.Println(collectives.Algorithms(collectives.Allreduce))
	// Output: [doubling halving ring direct]
}
