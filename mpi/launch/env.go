package launch

import (
	"fmt"
	"slices"
	"strings"
)

// jobVariable names a job in the environment of its processes.
const jobVariable = "OUTBOARD_JOB"

// cpusVariable tells a rank how many CPUs the job has for all its ranks; the
// rank itself may be bound to fewer.
const cpusVariable = "OUTBOARD_CPUS"

// foreign are variables of another launcher, or of an outer job, that would
// contradict ours.
var foreign = []string{
	"PMI_RANK", "PMI_SIZE", "PMI_FD", "PMI_PORT", "PMI_ID", "PMI_JOBID", "PMI_SPAWNED",
	"MPI_LOCALRANKID", "MPI_LOCALNRANKS", "HYDI_CONTROL_FD", jobVariable, cpusVariable,
}

// environment returns what all ranks of a job have in common. A GOMAXPROCS of
// the user stays.
func environment(base []string, n, cpus int, id string) []string {
	env := slices.DeleteFunc(slices.Clone(base), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(foreign, name)
	})
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "GOMAXPROCS=") }) {
		env = append(env, fmt.Sprint("GOMAXPROCS=", procs(n, cpus)))
	}
	return append(env,
		jobVariable+"="+id,
		fmt.Sprint(cpusVariable, "=", cpus),
		fmt.Sprint("PMI_SIZE=", n),
		fmt.Sprint("MPI_LOCALNRANKS=", n),
		fmt.Sprint("PMI_FD=", pmiFD),
	)
}

// rankEnvironment adds what is different for each rank.
func rankEnvironment(common []string, rank int) []string {
	return append(slices.Clip(common), fmt.Sprint("PMI_RANK=", rank), fmt.Sprint("MPI_LOCALRANKID=", rank))
}
