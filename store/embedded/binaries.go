package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MinMajor is the oldest PostgreSQL the schema is tested on.
const MinMajor = 15

// binaries is one installation of PostgreSQL.
type binaries struct {
	dir   string // holds initdb and postgres
	major int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// BinariesError says that no fitting PostgreSQL is installed. Its text tells
// the reader what to do about it.
type BinariesError struct {
	Cluster int   // the major version the existing cluster needs; 0 for a new one
	Found   []int // the major versions found, highest first
	BinDir  string
}

// Error says what is missing and the two ways out.
func (e *BinariesError) Error() string {
	var b strings.Builder
	want := MinMajor
	switch {
	case e.Cluster != 0:
		want = e.Cluster
		fmt.Fprintf(&b, "the data directory was made by PostgreSQL %d, whose programs are not installed", e.Cluster)
	default:
		fmt.Fprintf(&b, "PostgreSQL %d or newer is not installed", MinMajor)
	}
	if e.BinDir != "" {
		fmt.Fprintf(&b, " in %s", e.BinDir)
	}
	if len(e.Found) > 0 {
		fmt.Fprintf(&b, " (found: %s)", strings.Trim(fmt.Sprint(e.Found), "[]"))
	}
	install := fmt.Sprintf("apt install postgresql-%d", want)
	if e.Cluster == 0 {
		install = "apt install postgresql"
	}
	if runtime.GOOS == "darwin" {
		if e.Cluster == 0 {
			want = 17
		}
		install = fmt.Sprintf("brew install postgresql@%d", want)
	}
	fmt.Fprintf(&b, "; install it (%s), or set DATABASE_URL to a server of yours", install)
	return b.String()
}

// distribution lists where packages put the programs, one directory per version.
var distribution = [...]string{
	"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                   // the PostgreSQL project's RPMs
	"/opt/homebrew/opt/postgresql@*/bin", // Homebrew, Apple silicon
	"/usr/local/opt/postgresql@*/bin",    // Homebrew, Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
}

// findBinaries looks in binDir alone if given, else on PATH and where
// distributions install. cluster is the major version of an existing cluster,
// 0 if there is none.
func findBinaries(ctx context.Context, binDir string, cluster int) (binaries, error) {
	var dirs []string
	if binDir != "" {
		dirs = []string{binDir}
	} else {
		if found, err := exec.LookPath("postgres"); err == nil {
			dirs = append(dirs, filepath.Dir(found))
		}
		for _, pattern := range distribution {
			// The only error of Glob is a malformed pattern, and these are constant.
			found, _ := filepath.Glob(pattern)
			dirs = append(dirs, found...)
		}
	}
	var all []binaries
	for _, dir := range dirs {
		if b, ok := inspect(ctx, dir); ok {
			all = append(all, b)
		}
	}
	slices.SortStableFunc(all, func(a, b binaries) int { return b.major - a.major })
	missing := &BinariesError{Cluster: cluster, BinDir: binDir}
	for _, b := range all {
		if b.major == cluster || cluster == 0 && b.major >= MinMajor {
			return b, nil
		}
		missing.Found = append(missing.Found, b.major)
	}
	missing.Found = slices.Compact(missing.Found)
	return binaries{}, missing
}

var versionInDir = regexp.MustCompile(`postgresql/(\d+)/bin$|pgsql-(\d+)/bin$|postgresql@(\d+)/bin$`)

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect tells whether dir holds both programs, and of which version.
func inspect(ctx context.Context, dir string) (binaries, bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return binaries{}, false
	}
	// The programs find their libraries relative to where they really are.
	if target, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
		dir = filepath.Dir(target)
	}
	b := binaries{dir: dir}
	for _, name := range [...]string{"postgres", "initdb"} {
		if info, err := os.Stat(b.path(name)); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return binaries{}, false
		}
	}
	if m := versionInDir.FindStringSubmatch(dir); m != nil {
		b.major, err = strconv.Atoi(m[1] + m[2] + m[3])
		return b, err == nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, b.path("postgres"), "-V").Output()
	m := versionLine.FindSubmatch(out)
	if err != nil || m == nil {
		return binaries{}, false
	}
	b.major, err = strconv.Atoi(string(m[1]))
	return b, err == nil
}

// clusterMajor reads the major version of the cluster in dir, 0 if there is none.
func clusterMajor(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the version of the cluster: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("reading the version of the cluster in %s: %w", dir, err)
	}
	return major, nil
}
