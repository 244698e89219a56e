package verbs_test

const childRole = "VERBS_TEST_CHILD"

// childMain is what a child process does instead of the tests.
func childMain(role string) int {
	switch role {
	case "devices":
		return childDevices()
	}
	return 2
}
