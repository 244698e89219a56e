#!/bin/sh
# install.sh [DIR] - installs Open MPI, MPICH and UCX's benchmark from Debian's packages and builds mpibench for the former two.
#
# DIR holds the programs; it defaults to $XDG_CACHE_HOME/outboard/peers, or ~/.cache/outboard/peers, which is where
# `outboard bench --peers` looks for them. What is there already is left alone.
set -eu

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
packages="openmpi-bin libopenmpi-dev mpich libmpich-dev ucx-utils"

if [ $# -gt 1 ]; then
	fail "want at most one argument, the folder for the programs; got $#: $*"
fi
dir=${1-}
if [ -z "$dir" ]; then
	cache=${XDG_CACHE_HOME-}
	if [ -z "$cache" ]; then
		[ -n "${HOME-}" ] || fail "neither XDG_CACHE_HOME nor HOME is set: name a folder for the programs"
		cache=$HOME/.cache
	fi
	dir=$cache/outboard/peers
fi

missing=
for command in mpicc.openmpi mpirun.openmpi mpicc.mpich mpiexec.mpich ucx_perftest; do
	command -v "$command" >/dev/null || missing="$missing $command"
done
if [ -n "$missing" ]; then
	command -v apt-get >/dev/null ||
		fail "missing:$missing; there is no apt-get here, install Open MPI, MPICH and UCX under these names yourself"
	[ "$(id -u)" = 0 ] || fail "missing:$missing; installing them needs root: sudo apt-get install $packages"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	# shellcheck disable=SC2086 # a list of names
	apt-get install -q -y --no-install-recommends gcc libc6-dev $packages
fi

# The name carries the source's sum, so a program of another version is never taken for this one.
sum=$(sha256sum "$here/mpibench.c" | cut -c1-12)
mkdir -p "$dir"
for library in openmpi mpich; do
	program=$dir/mpibench-$sum.$library
	if [ ! -x "$program" ]; then
		# MPICH's MPI_STATUSES_IGNORE, the constant 1, looks to GCC like an array that is too short.
		"mpicc.$library" -std=c11 -O2 -Wno-stringop-overflow -o "$program.$$" "$here/mpibench.c" || {
			rm -f "$program.$$"
			fail "mpicc.$library could not build mpibench.c"
		}
		mv "$program.$$" "$program"
	fi
	echo "$program"
done
