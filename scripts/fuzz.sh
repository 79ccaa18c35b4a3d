#!/bin/sh
# Runs every fuzz target for a while, one after the other, and says at the end
# which of them found something; what they found is kept in testdata/fuzz.
#
#   scripts/fuzz.sh          all targets, FUZZTIME each (default 30s)
#   scripts/fuzz.sh list     the targets: package and function
#
# RUN narrows it to the targets whose names match, as in RUN=Match.

set -eu
cd "$(dirname "$0")/.."

targets() {
	grep -rEo --include='*_test.go' --exclude-dir=node_modules --exclude-dir=.cache --exclude-dir=.git --exclude-dir=var --exclude-dir=bench \
		'^func Fuzz[A-Za-z0-9_]*' . | sed -E 's|^(.*)/[^/]*:func (.*)$|\1 \2|' | grep -E -- "${RUN:-.}" | sort
}

if [ "${1:-}" = list ]; then
	targets
	exit 0
fi

list=$(targets)
if [ -z "$list" ]; then
	echo "fuzz: no target matches $RUN" >&2
	exit 1
fi
printf '%s\n' "$list"
found=""
while read -r package name; do
	echo "--- $package $name"
	go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-30s}" </dev/null || found="$found $package:$name"
done <<LIST
$list
LIST
if [ -n "$found" ]; then
	echo "fuzz: found something:$found" >&2
	exit 1
fi
