package cm

const childRole = "CM_TEST_CHILD"

func childMain(string) int { return 2 }
