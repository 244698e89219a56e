package verbs

// TMInfo is the header of a tag-matching message.
type TMInfo struct {
	Tag    uint64
	AppCtx uint32
	Handle uint32
}
