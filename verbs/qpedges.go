package verbs

// QPType is the service of a queue pair (IBTA 9.7, 9.8).
type QPType uint8

const (
	RC QPType = iota // reliable connection
	UC               // unreliable connection: order, but no acknowledgement; what is lost stays lost
	UD               // unreliable datagram: one packet a message, to any queue pair
	numQPTypes
)

var qpTypeText = [numQPTypes]string{"RC", "UC", "UD"}

func (t QPType) String() string {
	if t < numQPTypes {
		return qpTypeText[t]
	}
	return "invalid queue pair type"
}

// attrSet is what an edge of the state diagram needs and allows besides STATE.
type attrSet struct{ required, optional AttrMask }

// edge is one transition of a queue pair's state diagram.
type edge struct{ from, to State }

// edgeOf gives what a transition needs and allows, as the kernel's table does (qp_state_table in
// drivers/infiniband/core/verbs.c; ibv_modify_qp). Every state may go to RESET and, but RESET, to ERR.
func edgeOf(t QPType, from, to State) (attrSet, bool) {
	switch {
	case from >= numStates || to >= numStates:
		return attrSet{}, false
	case to == Reset, to == Err && from != Reset:
		return attrSet{}, true
	}
	set, ok := edges[edge{from, to}]
	return set[t], ok && !(t == RC && from == SQE)
}

const (
	setInit   = AttrPKeyIndex | AttrPort | AttrAccess
	setInitUD = AttrPKeyIndex | AttrPort | AttrQKey
	setRTRUC  = AttrAV | AttrPathMTU | AttrDestQPN | AttrRQPSN
	setAlt    = AttrAltPath | AttrPathMigState
)

// edges of the diagram with an attrSet for RC, UC and UD.
var edges = map[edge][numQPTypes]attrSet{
	{Reset, Init}: {{required: setInit}, {required: setInit}, {required: setInitUD}},
	{Init, Init}:  {{optional: setInit}, {optional: setInit}, {optional: setInitUD}},
	{Init, RTR}: {
		{required: setRTRUC | AttrMaxDestRdAtomic | AttrMinRNRTimer, optional: AttrAltPath | AttrAccess | AttrPKeyIndex},
		{required: setRTRUC, optional: AttrAltPath | AttrAccess | AttrPKeyIndex},
		{optional: AttrPKeyIndex | AttrQKey},
	},
	{RTR, RTS}: {
		{required: AttrSQPSN | AttrTimeout | AttrRetryCnt | AttrRNRRetry | AttrMaxRdAtomic,
			optional: AttrCurState | AttrAccess | AttrMinRNRTimer | setAlt},
		{required: AttrSQPSN, optional: AttrCurState | AttrAccess | setAlt},
		{required: AttrSQPSN, optional: AttrCurState | AttrQKey},
	},
	{RTS, RTS}: {
		{optional: AttrCurState | AttrAccess | AttrMinRNRTimer | setAlt},
		{optional: AttrCurState | AttrAccess | setAlt},
		{optional: AttrCurState | AttrQKey},
	},
	{RTS, SQD}: {{optional: AttrEnSQDAsyncNotify}, {optional: AttrEnSQDAsyncNotify}, {optional: AttrEnSQDAsyncNotify}},
	{SQD, RTS}: {
		{optional: AttrCurState | AttrAccess | AttrMinRNRTimer | setAlt},
		{optional: AttrCurState | AttrAccess | setAlt},
		{optional: AttrCurState | AttrQKey},
	},
	{SQD, SQD}: {
		{optional: AttrPort | AttrAV | AttrTimeout | AttrRetryCnt | AttrRNRRetry | AttrMaxRdAtomic | AttrMaxDestRdAtomic |
			AttrAccess | AttrPKeyIndex | AttrMinRNRTimer | setAlt},
		{optional: AttrAV | AttrAccess | AttrPKeyIndex | setAlt},
		{optional: AttrPKeyIndex | AttrQKey},
	},
	{SQE, RTS}: {{}, {optional: AttrCurState | AttrAccess}, {optional: AttrCurState | AttrQKey}},
}
