#!/bin/sh
# Checks that what is committed is formatted, generated from its sources and
# tidy. It changes no file: the views are generated in a copy and compared.
# (docs/config.md and .env.example are compared by the tests of config.)
#
#   scripts/verify.sh          all checks
#   scripts/verify.sh list     the Go files that gofmt looks at

set -eu
cd "$(dirname "$0")/.."
failed=no

fail() {
	printf '%s\n' "verify: $*" >&2
	failed=yes
}

# sources PATTERN: our files of that name, without what was fetched or built.
sources() {
	find . \( -name node_modules -o -path ./var -o -path ./bin -o -path ./.git -o -path ./.cache \) -prune -o \
		-type f -name "$1" -print
}

go_sources() { sources '*.go' | grep -v '_templ\.go$'; }

formatted() {
	unformatted=$(go_sources | xargs gofmt -l)
	for file in $unformatted; do fail "$file is not formatted, run make fmt"; done
}

views_fresh() {
	[ -n "$(sources '*.templ')" ] || return 0
	templ=$(go tool -n templ)
	copy=$(mktemp -d)
	trap 'rm -rf "$copy"' EXIT
	trap 'exit 130' INT TERM
	sources '*.templ' | tar -cf - -T - | tar -xf - -C "$copy"
	cp go.mod "$copy/"
	if ! (cd "$copy" && "$templ" generate -log-level error) >"$copy/said" 2>&1; then
		cat "$copy/said" >&2
		fail "templ generate does not succeed"
		return 0
	fi
	for file in $(sources '*.templ'); do
		made=${file%.templ}_templ.go
		cmp -s "$copy/$made" "$made" || fail "$made is not what $file generates, run make generate"
	done
	for made in $(sources '*_templ.go'); do
		[ -f "${made%_templ.go}.templ" ] || fail "$made has no .templ file any more, remove it"
	done
}

tidy() {
	go mod tidy -diff || fail "go.mod or go.sum is not tidy, run go mod tidy"
}

case ${1:-} in
list) go_sources ;;
'')
	formatted
	views_fresh
	tidy
	[ "$failed" = no ]
	;;
*)
	echo "usage: scripts/verify.sh [list]" >&2
	exit 2
	;;
esac
