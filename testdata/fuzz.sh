#!/bin/sh
# Fuzzes one target, PACKAGE FUNCTION TIME, with a worker, and shows the end of what it
# printed. To minimize an input may take a minute by default, and is no fuzzing.
for try in 1 2 3; do
	out=$("${GO:-go}" test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 100x -parallel 1 2>&1)
	code=$?
	# Go before 1.27 may take the end of the time for a failure (golang.org/issue/75804).
	[ $code != 0 ] && [ "$(echo "$out" | grep -A 1 '^--- FAIL' | sed -n 2p)" = '    context deadline exceeded' ] || break
	echo "$1 $2: the time was over, once more"
done
echo "$1 $2"
echo "$out" | tail -n 30
exit $code
