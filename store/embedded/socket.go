package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	socketPort = "5432"
	socketName = ".s.PGSQL." + socketPort
)

// socketFits tells whether the server can listen in dir.
func socketFits(dir string) bool {
	return len(filepath.Join(dir, socketName)) <= maxSocketPath
}

// makeSocketDir makes the directory of the server's socket: inside the data
// directory, or, where that path is too long, in the machine's runtime
// directory under a name derived from it.
func makeSocketDir(dataDir string, acct account, usable func(dir string) error) (string, error) {
	dir := filepath.Join(dataDir, "sock")
	if socketFits(dir) {
		return dir, claimSocketDir(dir, acct)
	}
	sum := sha256.Sum256([]byte(dataDir))
	name := "heddle-" + hex.EncodeToString(sum[:8])
	var problems []error
	for _, base := range runtimeDirs() {
		dir := filepath.Join(base, name)
		if !socketFits(dir) {
			continue
		}
		err := usable(base)
		if err == nil {
			err = claimSocketDir(dir, acct)
		}
		if err == nil {
			return dir, nil
		}
		problems = append(problems, err)
	}
	return "", fmt.Errorf("the path of %s is too long for a socket and no runtime directory can be used; set HEDDLE_DATA_DIR to a shorter path: %w", dataDir, errors.Join(problems...))
}

func runtimeDirs() []string {
	var dirs []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, dir)
	}
	if os.Geteuid() == 0 {
		dirs = append(dirs, "/run")
	}
	return append(dirs, os.TempDir(), "/tmp")
}

// claimSocketDir makes dir with mode 0700 for the account. A directory that is
// there already must be one of ours: in /tmp anybody could have put it there.
func claimSocketDir(dir string, acct account) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making the socket directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("checking the socket directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != acct.uid && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("checking the socket directory: %s is in the way", dir)
	}
	if err := errors.Join(os.Chmod(dir, 0o700), acct.own(dir)); err != nil {
		return fmt.Errorf("handing over the socket directory: %w", err)
	}
	return nil
}

// socketURL addresses a database behind a socket, for pgx and libpq alike.
func socketURL(dir, role, database string) string {
	query := url.Values{"host": {dir}, "port": {socketPort}, "sslmode": {"disable"}}
	u := url.URL{
		Scheme: "postgres",
		User:   url.User(role),
		Path:   "/" + database,
		// libpq takes a plus sign for itself, not for a space.
		RawQuery: strings.ReplaceAll(query.Encode(), "+", "%20"),
	}
	return u.String()
}
