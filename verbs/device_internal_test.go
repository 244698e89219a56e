package verbs

import "testing"

func TestQuietHidesPanics(t *testing.T) {
	if got := quiet(func() []string { return []string{"a"}[:2] }); got != nil {
		t.Errorf("a look that panics found %v, want nothing", got)
	}
	if got := quiet(func() []string { return []string{"a"} }); len(got) != 1 {
		t.Errorf("a look found %v, want a", got)
	}
}
