#!/bin/sh
# Check the models, and that each of their mutations is found.
#
#   run.sh [-j JOBS] [PREFIX]     PREFIX: only the cases whose names begin so
#
# A case is NAME or NAME-BREAK_SOMETHING, NAME being a model or a test program.  A
# model passes when spin has seen all of its states and none is wrong, a mutation
# when a property is violated: a deadlock or an exhausted memory do not count.
# Where spin or the thread sanitizer are missing their cases are skipped.

# shellcheck disable=SC2086 # lists of options

set -u
cd "$(dirname "$0")" || exit 1

jobs=$(nproc 2>/dev/null || echo 1)
if [ "${1-}" = "-j" ]; then
	jobs=$2
	shift 2
fi

# The most that one search of states may take.
seconds=60
megabytes=1500

mutations() { sed -n 's/^ \*[[:space:]]*\(BREAK_[A-Z_]*\)[[:space:]].*/\1/p' "$1"; }

# run_model NAME MUTATION: leaves pan's output in the file out.
run_model() {
	how=-O1
	[ -z "$2" ] || how="-O0 -DREVERSE"
	spin -a ${2:+-D"$2"} "$1.pml" >spin.out 2>&1 || { cat spin.out; return 1; }
	# in the reverse order a violation is found soon
	gcc $how -w -DSAFETY -DCOLLAPSE -DMEMLIM=$megabytes -o pan pan.c || return 1
	timeout $seconds ./pan -m100000 -n >out 2>&1
	if [ -n "$2" ]; then
		grep -q 'assertion violated' out && return 0
		echo "no property is violated"
	elif grep -q 'errors: 0' out && ! grep -Eq 'not completed|too small|out of memory' out; then
		sed -n 's/^ *\([0-9]*\) states, stored.*/\1 states/p' out
		return 0
	else
		spin -t -p "$1.pml" 2>/dev/null | tail -n 80
	fi
	head -n 12 out
	return 1
}

# run_race NAME MUTATION: see test_race.c.
run_race() {
	consume="-U__ATOMIC_RELAXED -D__ATOMIC_RELAXED=__ATOMIC_ACQUIRE -DKNN_STORE_ORDER=__ATOMIC_RELEASE"
	flags="-std=gnu11 -Wall -Wextra -Werror -O1 -g -fsanitize=thread -I$source/src -I."
	for file in "$source"/src/core/*.c; do
		if [ "$(basename "$file")" = flat_graph.c ]; then
			gcc $flags $consume -c "$file" || return 1
		else
			gcc $flags -c "$file" || return 1
		fi
	done
	gcc $flags $consume ${2:+-D"$2"} -c "$source/test/model/$1.c" || return 1
	gcc $flags -o race ./*.o -lm -lpthread || return 1
	TSAN_OPTIONS="halt_on_error=1 exitcode=66" timeout $seconds ./race >out 2>&1
	status=$?
	if [ -n "$2" ]; then
		[ $status -eq 66 ] && return 0
		echo "no race is reported"
	elif [ $status -eq 0 ]; then
		return 0
	fi
	echo "status $status"
	cat out
	return 1
}

# Is there a sanitizer, and does it run with this kernel's addresses?
race_possible() {
	echo 'int main(void) { return 0; }' >probe.c
	gcc -fsanitize=thread -o probe probe.c 2>/dev/null && ./probe >/dev/null 2>&1
}

# run_case NAME: in a directory of its own; one line of result, more on failure.
run_case() {
	source=$(cd ../.. && pwd)
	name=${1%%-*}
	mutation=${1#"$name"}
	mutation=${mutation#-}
	work=$(mktemp -d) || exit 1
	trap 'rm -rf "$work"' EXIT
	case $name in
	test_*) kind=run_race ;;
	*) kind=run_model; cp "$name.pml" "$work" ;;
	esac
	cd "$work" || exit 1
	if [ $kind = run_model ] && ! command -v spin >/dev/null; then
		echo "skipped $1: no spin"
	elif [ $kind = run_race ] && ! race_possible; then
		echo "skipped $1: no thread sanitizer"
	elif $kind "$name" "$mutation" >log 2>&1; then
		echo "ok $1${mutation:+ is found}$([ -s log ] && echo ": $(cat log)")"
	else
		{
			echo "not ok $1"
			sed 's/^/    /' log
		} >report
		# in one piece, since others run beside
		cat report
	fi
}

if [ "${1-}" = "--case" ]; then
	run_case "$2"
	exit
fi

# The largest first.
cases() {
	for name in growth pins standby load progress test_race; do
		echo $name
	done
	for file in *.pml; do
		for mutation in $(mutations "$file"); do
			echo "${file%.pml}-$mutation"
		done
	done
	echo test_race-BREAK_ORDER
	echo test_race-BREAK_PLAIN
}

results=$(mktemp) || exit 1
trap 'rm -f "$results"' EXIT
cases | grep "^${1-}" | xargs -P "$jobs" -n 1 ./run.sh --case | tee "$results"
passed=$(grep -c '^ok ' "$results")
failed=$(grep -c '^not ok ' "$results")
skipped=$(grep -c '^skipped ' "$results")
# a case that died without a word
missing=$(($(cases | grep -c "^${1-}") - passed - failed - skipped))
failed=$((failed + missing))
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
