package cm

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or, in a child process that a test has started, the child's part.
func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(childMain(role))
	}
	goleak.VerifyTestMain(m)
}
