#!/bin/sh
# Run test programs one after another and add up their counts.
#
#   run.sh [-w WRAPPER] PROGRAM...
#
# WRAPPER is a command put before each program (an emulator, a checker).  A
# program that dies, or fails without saying how, counts as one failed case.

wrapper=
if [ "$1" = "-w" ]; then
	wrapper=$2
	shift 2
fi

passed=0
failed=0
skipped=0
for program in "$@"; do
	name=$(basename "$program")
	# the wrapper is a command with its options
	line=$($wrapper "$program")
	status=$?
	counts=$(printf '%s\n' "$line" |
		sed -n "s/^$name: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped\$/\1 \2 \3/p")
	if [ -z "$counts" ]; then
		echo "$name: exited with status $status before its end"
		failed=$((failed + 1))
		continue
	fi
	printf '%s\n' "$line"
	set -- $counts
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
	if [ $status -ne 0 ] && [ "$2" -eq 0 ]; then
		echo "$name: exited with status $status"
		failed=$((failed + 1))
	fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
