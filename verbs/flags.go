package verbs

import (
	"fmt"
	"strings"
)

// flagsText names the bits of a set of flags, "0" if there are none.
func flagsText(bits uint32, names []string) string {
	var parts []string
	for i, name := range names {
		if bits&(1<<i) != 0 {
			parts = append(parts, name)
		}
	}
	if unknown := bits >> len(names) << len(names); unknown != 0 {
		parts = append(parts, fmt.Sprintf("%#x", unknown))
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, "|")
}

// String gives the names of ibv_access_flags without their prefix.
func (a Access) String() string {
	return flagsText(uint32(a), []string{"LOCAL_WRITE", "REMOTE_WRITE", "REMOTE_READ", "REMOTE_ATOMIC", "MW_BIND", "ZERO_BASED", "RELAXED_ORDERING"})
}

// String gives the names of ibv_send_flags without their prefix.
func (f SendFlags) String() string {
	return flagsText(uint32(f), []string{"SIGNALED", "INLINE", "SOLICITED", "FENCE"})
}

// String gives the names of ibv_wc_flags without their prefix.
func (f WCFlags) String() string {
	return flagsText(uint32(f), []string{"GRH", "WITH_INV", "TM_SYNC_REQ", "TM_MATCH", "TM_DATA_VALID"})
}
