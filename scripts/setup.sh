#!/bin/sh
# Installs what this machine lacks for Heddle, and says what and why.
#
#   scripts/setup.sh run    what `make run` needs: PostgreSQL, Node and npm
#   scripts/setup.sh test   also what `make test` needs: Redis, Chromium with a
#                           font, and a C compiler for the race detector
#
# Debian and Ubuntu: apt-get, with sudo unless root. macOS: Homebrew. Where all
# is there it asks no network and takes a moment. It starts no service and uses
# none: Heddle and its tests run their own servers from these binaries.
#
# SETUP_ROOT is put before the absolute paths that are searched; for tests.

set -eu
LC_ALL=C
export LC_ALL

root=${SETUP_ROOT:-}
missing='' # things that are not there, in the words of needs()
updated=no # whether apt-get update ran

say() { printf '%s\n' "setup: $*"; }
complain() { printf '%s\n' "setup: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- what is there ---------------------------------------------------------

# recent_postgres DIR: are the binaries in DIR PostgreSQL 15 or later?
recent_postgres() {
	[ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
	major=$("$1/postgres" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\).*/\1/p')
	[ "${major:-0}" -ge 15 ]
}

there_postgres() {
	if [ -n "${HEDDLE_POSTGRES_BIN:-}" ]; then
		recent_postgres "$HEDDLE_POSTGRES_BIN"
		return
	fi
	if have postgres && recent_postgres "$(dirname "$(command -v postgres)")"; then return 0; fi
	for dir in "$root"/usr/lib/postgresql/*/bin "$root"/usr/pgsql-*/bin "$root"/usr/local/pgsql/bin \
		"$root"/opt/homebrew/opt/postgresql@*/bin "$root"/usr/local/opt/postgresql@*/bin \
		"$root"/Applications/Postgres.app/Contents/Versions/*/bin; do
		if recent_postgres "$dir"; then return 0; fi
	done
	return 1
}

there_node() {
	have node && have npm || return 1
	major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9][0-9]*\).*/\1/p')
	[ "${major:-0}" -ge 18 ]
}

there_redis() { have redis-server; }

there_browser() {
	for name in headless_shell headless-shell chromium chromium-browser google-chrome google-chrome-stable google-chrome-beta; do
		if have "$name"; then return 0; fi
	done
	[ -x "$root/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ] ||
		[ -x "$root/Applications/Chromium.app/Contents/MacOS/Chromium" ]
}

# Only Linux can be without any font.
there_font() {
	[ "$system" = macos ] && return 0
	for dir in "$root/usr/share/fonts" "$root/usr/local/share/fonts" "${HOME:-/nonexistent}/.fonts" "${HOME:-/nonexistent}/.local/share/fonts"; do
		if [ -n "$(find "$dir" -name '*.[to]tf' 2>/dev/null | head -n 1)" ]; then return 0; fi
	done
	return 1
}

# The race detector links C on Linux, and needs nothing on macOS.
there_compiler() {
	[ "$system" = macos ] && return 0
	have "${CC:-gcc}" || have cc || have clang
}

# own_database: is there a DATABASE_URL, so that no local server is started?
own_database() {
	[ -n "${DATABASE_URL:-}${DATABASE_URL_FILE:-}" ] ||
		grep -Eq '^(export )?DATABASE_URL(_FILE)?=.' .env 2>/dev/null
}

# --- what things are for, and what they are called ------------------------

why() {
	case $1 in
	postgres) echo "PostgreSQL 15 or later: the database that Heddle starts for itself" ;;
	node) echo "Node 18 or later with npm: fetches the browser libraries" ;;
	redis) echo "Redis: the realtime tests use a real one" ;;
	browser) echo "Chromium: the browser tests" ;;
	font) echo "a font: without one Chromium draws no text" ;;
	compiler) echo "a C compiler: go test -race needs it on Linux" ;;
	esac
}

by_hand() {
	case $1 in
	postgres) echo "install the PostgreSQL server, 15 or later (https://www.postgresql.org/download/), and set HEDDLE_POSTGRES_BIN to the directory of initdb unless it is on PATH; or set DATABASE_URL to a server you have (make run)" ;;
	node) echo "install Node 18 or later with npm (https://nodejs.org/)" ;;
	redis) echo "install redis-server (https://redis.io/docs/) so that it is on PATH" ;;
	browser) echo "install Chromium or Google Chrome so that chromium or google-chrome is on PATH" ;;
	font) echo "install a TrueType font, such as Liberation or Noto, under /usr/share/fonts" ;;
	compiler) echo "install gcc or clang with the C library's headers" ;;
	esac
}

# apt_names THING: its Debian packages.
apt_names() {
	case $1 in
	postgres) newest_postgres ;;
	node)
		have node || echo nodejs
		echo npm
		;;
	redis) echo redis-server ;;
	browser)
		if known chromium; then
			echo chromium chromium-sandbox
		elif have snap; then
			echo chromium-browser # Ubuntu's package of that name fetches a snap
		fi
		;;
	font) echo fonts-liberation ;;
	compiler) echo gcc libc6-dev ;;
	esac
}

# known PACKAGE: do the package lists offer it?
known() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }

newest_postgres() {
	major=$(apt-cache search --names-only '^postgresql-[0-9]+$' 2>/dev/null |
		sed -n 's/^postgresql-\([0-9][0-9]*\) .*/\1/p' | sort -n | tail -n 1)
	if [ "${major:-0}" -ge 15 ]; then echo "postgresql-$major"; fi
}

brew_names() {
	case $1 in
	postgres) echo postgresql@17 ;;
	node) echo node ;;
	redis) echo redis ;;
	browser) echo google-chrome ;;
	esac
}

# --- installing -------------------------------------------------------------

# as_root COMMAND...: with sudo when we are not root.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

may_be_root() {
	[ "$(id -u)" = 0 ] && return 0
	have sudo || return 1
	sudo -n true 2>/dev/null || [ -t 0 ]
}

apt_update() {
	[ "$updated" = no ] || return 0
	updated=yes
	say "apt-get update (the package lists do not offer all that is needed)"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || complain "apt-get update ended with an error; trying on"
}

# apt_packages: what can be installed of what is missing; one package that
# nobody offers must not keep the others away.
apt_packages() {
	for thing in $missing; do
		for name in $(apt_names "$thing"); do
			if known "$name"; then echo "$name"; fi
		done
	done
}

# offered: is every missing thing in the package lists?
offered() {
	for thing in $missing; do
		names=$(apt_names "$thing")
		[ -n "$names" ] || return 1
		for name in $names; do known "$name" || return 1; done
	done
}

apt_install() {
	# Word splitting is meant: these are package names.
	# shellcheck disable=SC2046
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		-o DPkg::Lock::Timeout=120 $(apt_packages) >/dev/null
}

install_debian() {
	if ! may_be_root; then
		complain "cannot install: not root, and sudo is absent or asks for a password without a terminal"
		return 1
	fi
	offered || apt_update
	if [ -z "$(apt_packages)" ]; then return 1; fi
	say "apt-get install $(apt_packages | tr '\n' ' ')"
	apt_install && return 0
	[ "$updated" = no ] || return 1
	apt_update
	apt_install
}

install_macos() {
	if ! have brew; then
		complain "cannot install: Homebrew is absent (https://brew.sh)"
		return 1
	fi
	for thing in $missing; do
		name=$(brew_names "$thing")
		[ -n "$name" ] || continue
		say "brew install $name"
		if [ "$thing" = browser ]; then brew install --cask "$name" || return 1; else brew install "$name" || return 1; fi
	done
}

# look THING...: sets missing to those that are not there.
look() {
	missing=''
	for thing in "$@"; do
		"there_$thing" || missing="$missing $thing"
	done
}

case $(uname -s) in
Darwin) system=macos ;;
*) if have apt-get; then system=debian; else system=other; fi ;;
esac

case ${1:-} in
run) things='postgres node' ;;
test) things='postgres node redis browser font compiler' ;;
*)
	complain "usage: scripts/setup.sh run|test"
	exit 2
	;;
esac
if [ "$1" = run ] && own_database; then things=node; fi

# Word splitting is meant here and below: these are lists of plain words.
# shellcheck disable=SC2086
look $things
[ -n "$missing" ] || exit 0

for thing in $missing; do say "missing: $(why "$thing")"; done
case $system in
debian) install_debian || complain "installing did not succeed" ;;
macos) install_macos || complain "installing did not succeed" ;;
*) complain "cannot install here: neither Debian, Ubuntu nor macOS" ;;
esac

# shellcheck disable=SC2086
look $things
if [ -n "$missing" ]; then
	for thing in $missing; do
		complain "still missing: $(why "$thing")"
		complain "  by hand: $(by_hand "$thing")"
	done
	exit 1
fi
say "all there"
