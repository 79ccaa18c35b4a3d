// Package scripts holds the test of setup.sh: the script runs on a made-up
// machine, where PATH holds only stubs and a few tools of the real one, and
// where apt-get, sudo and brew write down how they were called.
package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// machine is a made-up computer for one test.
type machine struct {
	t    *testing.T
	root string // what the script sees as /
	bin  string // PATH
	log  string // calls of the stubs, one a line
}

// aptKnows is the stub of apt-cache: it offers the packages of the file
// "lists" in the root.
const aptKnows = `case $1 in
policy) if grep -qx "$2" "$SETUP_ROOT/lists"; then echo "  Candidate: 1.0"; else echo "  Candidate: (none)"; fi ;;
search) grep -E '^postgresql-[0-9]+$' "$SETUP_ROOT/lists" | sed 's/$/ - a database/' ;;
esac`

// aptGet is the stub of apt-get: update fills the lists, install puts the
// programs of the packages into PATH.
const aptGet = `echo "apt-get $*" >>"$LOG"
case $1 in
update) cat "$SETUP_ROOT/lists-new" >>"$SETUP_ROOT/lists" 2>/dev/null; exit 0 ;;
install) [ -z "${APT_FAILS:-}" ] || exit 100 ;;
esac
program() { printf '#!/bin/sh\necho "%s"\n' "$2" >"$1"; chmod +x "$1"; }
for word in "$@"; do
	case $word in
	postgresql-*)
		major=${word#postgresql-}
		mkdir -p "$SETUP_ROOT/usr/lib/postgresql/$major/bin"
		program "$SETUP_ROOT/usr/lib/postgresql/$major/bin/initdb" x
		program "$SETUP_ROOT/usr/lib/postgresql/$major/bin/postgres" "postgres (PostgreSQL) $major.1 (Debian)" ;;
	nodejs) program "$BIN/node" v18.20.4 ;;
	npm) program "$BIN/npm" 9 ;;
	redis-server) program "$BIN/redis-server" x ;;
	chromium) program "$BIN/chromium" x ;;
	gcc) program "$BIN/gcc" x ;;
	fonts-liberation) mkdir -p "$SETUP_ROOT/usr/share/fonts"; : >"$SETUP_ROOT/usr/share/fonts/a.ttf" ;;
	esac
done`

func newMachine(t *testing.T, system string) *machine {
	t.Helper()
	t.Parallel()
	m := &machine{t: t, root: filepath.Join(t.TempDir(), "root")}
	m.bin, m.log = filepath.Join(m.root, "bin"), filepath.Join(m.root, "log")
	require.NoError(t, os.MkdirAll(m.bin, 0o755))
	for _, tool := range []string{"sh", "sed", "grep", "sort", "tail", "head", "find", "dirname", "env", "mkdir", "chmod", "cat", "tr"} {
		path, err := exec.LookPath(tool)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(m.bin, tool)))
	}
	m.program("id", "echo 0")
	m.program("uname", "echo "+system)
	m.file("log", "")
	return m
}

func debian(t *testing.T, lists ...string) *machine {
	t.Helper()
	m := newMachine(t, "Linux")
	m.file("lists", strings.Join(lists, "\n")+"\n")
	m.program("apt-cache", aptKnows)
	m.program("apt-get", aptGet)
	return m
}

func (m *machine) file(name, content string) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m.t, os.WriteFile(path, []byte(content), 0o755))
}

func (m *machine) program(name, body string) {
	m.t.Helper()
	m.file(filepath.Join("bin", name), "#!/bin/sh\n"+body+"\n")
}

func (m *machine) postgres(dir, version string) {
	m.t.Helper()
	m.file(filepath.Join(dir, "initdb"), "#!/bin/sh\n")
	m.file(filepath.Join(dir, "postgres"), "#!/bin/sh\necho 'postgres (PostgreSQL) "+version+"'\n")
}

func (m *machine) node(version string) {
	m.t.Helper()
	m.program("node", "echo "+version)
	m.program("npm", "echo 9")
}

// setup runs the script and returns what it said and whether it succeeded.
func (m *machine) setup(role string, env ...string) (said string, ok bool) {
	m.t.Helper()
	script, err := filepath.Abs("setup.sh")
	require.NoError(m.t, err)
	cmd := exec.CommandContext(m.t.Context(), filepath.Join(m.bin, "sh"), script, role)
	cmd.Dir = m.root
	cmd.Env = append([]string{"PATH=" + m.bin, "BIN=" + m.bin, "SETUP_ROOT=" + m.root, "LOG=" + m.log, "HOME=" + m.root}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// calls returns what the stubs wrote down.
func (m *machine) calls() string {
	m.t.Helper()
	content, err := os.ReadFile(m.log)
	require.NoError(m.t, err)
	return string(content)
}

func TestACompleteMachineIsLeftAlone(t *testing.T) {
	m := debian(t)
	m.postgres("usr/lib/postgresql/15/bin", "15.18 (Debian 15.18-0+deb12u1)")
	m.node("v20.1.0")
	said, ok := m.setup("run")
	require.True(t, ok, said)
	require.Empty(t, said)

	for _, name := range []string{"redis-server", "google-chrome", "gcc"} {
		m.program(name, "")
	}
	m.file("usr/share/fonts/truetype/a.ttf", "")
	said, ok = m.setup("test")
	require.True(t, ok, said)
	require.Empty(t, said)
	require.Empty(t, m.calls(), "no installer may run")
}

func TestABareDebianGetsEverythingInOneInstall(t *testing.T) {
	m := debian(t, "postgresql-15", "postgresql-17", "nodejs", "npm", "redis-server", "chromium", "chromium-sandbox", "fonts-liberation", "gcc", "libc6-dev")
	said, ok := m.setup("test")
	require.True(t, ok, said)
	require.Equal(t, "apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "+
		"postgresql-17 nodejs npm redis-server chromium chromium-sandbox fonts-liberation gcc libc6-dev\n", m.calls())
	for _, reason := range []string{"the database that Heddle starts", "browser libraries", "realtime tests", "browser tests", "draws no text", "race"} {
		require.Contains(t, said, reason)
	}

	said, ok = m.setup("test")
	require.True(t, ok)
	require.Empty(t, said, "the second time there is nothing to do")
}

func TestEmptyPackageListsAreFetchedOnce(t *testing.T) {
	m := debian(t)
	m.file("lists-new", "postgresql-16\nnodejs\nnpm\n")
	said, ok := m.setup("run")
	require.True(t, ok, said)
	require.Equal(t, 1, strings.Count(m.calls(), "apt-get update"))
	require.Contains(t, m.calls(), "postgresql-16 nodejs npm")
}

func TestAFailedInstallIsTriedAgainWithFreshListsAndThenExplained(t *testing.T) {
	m := debian(t, "postgresql-15", "nodejs", "npm")
	said, ok := m.setup("run", "APT_FAILS=1")
	require.False(t, ok)
	require.Equal(t, 1, strings.Count(m.calls(), "apt-get update"))
	require.Equal(t, 2, strings.Count(m.calls(), "apt-get install"))
	require.Contains(t, said, "by hand: install the PostgreSQL server")
	require.Contains(t, said, "by hand: install Node 18")
}

func TestAnOldDatabaseOrNodeDoesNotCount(t *testing.T) {
	m := debian(t, "postgresql-14", "nodejs", "npm")
	m.postgres("usr/lib/postgresql/14/bin", "14.9")
	m.node("v12.22.9")
	said, ok := m.setup("run")
	require.False(t, ok)
	require.NotContains(t, m.calls(), "postgresql-14")
	require.Contains(t, said, "still missing: PostgreSQL 15 or later")
}

func TestOnePackageThatIsNotOfferedDoesNotKeepTheOthersAway(t *testing.T) {
	m := debian(t, "postgresql-16", "nodejs", "npm", "redis-server", "chromium-browser", "fonts-liberation", "gcc", "libc6-dev")
	said, ok := m.setup("test")
	require.False(t, ok)
	require.Contains(t, m.calls(), "postgresql-16 nodejs npm redis-server fonts-liberation gcc libc6-dev\n")
	require.Equal(t, 1, strings.Count(said, "still missing"), said)
	require.Contains(t, said, "still missing: Chromium")
}

func TestSudoIsUsedByThoseWhoAreNotRoot(t *testing.T) {
	m := debian(t, "postgresql-15", "nodejs", "npm")
	m.program("id", "echo 1000")
	said, ok := m.setup("run")
	require.False(t, ok)
	require.Contains(t, said, "not root, and sudo is absent")
	require.Empty(t, m.calls())

	m.program("sudo", `if [ "$1" = -n ]; then exit "${SUDO_ASKS:-0}"; fi
echo "sudo $*" >>"$LOG"
exec "$@"`)
	_, ok = m.setup("run", "SUDO_ASKS=1")
	require.False(t, ok, "a password cannot be typed without a terminal")
	require.Empty(t, m.calls())

	said, ok = m.setup("run")
	require.True(t, ok, said)
	require.Contains(t, m.calls(), "sudo env DEBIAN_FRONTEND=noninteractive apt-get install")
}

func TestADatabaseOfOnesOwnNeedsNoServerToRun(t *testing.T) {
	m := debian(t)
	m.node("v22.0.0")
	_, ok := m.setup("run", "DATABASE_URL=postgres://x")
	require.True(t, ok)
	m.file(".env", "HEDDLE_ADDR=:1\nDATABASE_URL=postgres://x\n")
	_, ok = m.setup("run")
	require.True(t, ok)
	_, ok = m.setup("test", "DATABASE_URL=postgres://x")
	require.False(t, ok, "the tests make databases of their own")
}

func TestTheNamedDirectoryOfBinariesDecides(t *testing.T) {
	m := debian(t)
	m.node("v22.0.0")
	m.postgres("opt/pg/bin", "18.0")
	said, ok := m.setup("run", "HEDDLE_POSTGRES_BIN="+filepath.Join(m.root, "opt/pg/bin"))
	require.True(t, ok, said)
	said, ok = m.setup("run", "HEDDLE_POSTGRES_BIN="+filepath.Join(m.root, "elsewhere"))
	require.False(t, ok)
	require.Contains(t, said, "HEDDLE_POSTGRES_BIN")
}

func TestAMacGetsItFromHomebrew(t *testing.T) {
	m := newMachine(t, "Darwin")
	said, ok := m.setup("test")
	require.False(t, ok)
	require.Contains(t, said, "https://brew.sh")

	m.program("brew", `echo "brew $*" >>"$LOG"
program() { printf '#!/bin/sh\necho "%s"\n' "$2" >"$1"; chmod +x "$1"; }
case $* in
"install postgresql@17")
	dir="$SETUP_ROOT/opt/homebrew/opt/postgresql@17/bin"; mkdir -p "$dir"
	program "$dir/initdb" x; program "$dir/postgres" "postgres (PostgreSQL) 17.2 (Homebrew)" ;;
"install node") program "$BIN/node" v24.1.0; program "$BIN/npm" 11 ;;
"install redis") program "$BIN/redis-server" x ;;
"install --cask google-chrome")
	dir="$SETUP_ROOT/Applications/Google Chrome.app/Contents/MacOS"; mkdir -p "$dir"; program "$dir/Google Chrome" x ;;
esac`)
	said, ok = m.setup("test")
	require.True(t, ok, said)
	require.Equal(t, "brew install postgresql@17\nbrew install node\nbrew install redis\nbrew install --cask google-chrome\n", m.calls())
	said, ok = m.setup("test")
	require.True(t, ok)
	require.Empty(t, said)
}

func TestAnUnknownSystemAndRoleAreToldWhatToDo(t *testing.T) {
	m := newMachine(t, "FreeBSD")
	said, ok := m.setup("run")
	require.False(t, ok)
	require.Contains(t, said, "neither Debian, Ubuntu nor macOS")
	require.Contains(t, said, "by hand")
	said, ok = m.setup("everything")
	require.False(t, ok)
	require.Contains(t, said, "usage: scripts/setup.sh run|test")
}
