package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// superuser is the role that initdb makes.
const superuser = "postgres"

// locales are tried in order. With any of them text is UTF-8 and sorts by code
// point; without the first, some systems know upper and lower case of ASCII alone.
var locales = [...][]string{
	{"--locale=C.UTF-8"},
	{"--locale=C", "--lc-ctype=en_US.UTF-8"},
	{"--locale=C"},
}

// cluster is one PostgreSQL data directory with all that is needed to run it.
type cluster struct {
	bins binaries
	acct account
	data string // our data directory
	dir  string // the cluster's own directory in it
	sock string // directory of the socket
}

// create makes the cluster unless it exists, and removes what a creation that
// was cut short left behind. It reports whether the cluster is new.
func (c *cluster) create(ctx context.Context, locales [][]string) (bool, error) {
	leftovers, err := filepath.Glob(c.dir + ".new-*")
	if err != nil {
		return false, fmt.Errorf("looking for a half-made cluster: %w", err)
	}
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			return false, fmt.Errorf("removing a half-made cluster: %w", err)
		}
	}
	if major, err := clusterMajor(c.dir); err != nil || major != 0 {
		return false, err
	}
	for i, locale := range locales {
		out, err := c.initdb(ctx, locale)
		if err == nil {
			return true, nil
		}
		if i == len(locales)-1 || !bytes.Contains(out, []byte("invalid locale")) {
			return false, err
		}
	}
	return false, errors.New("making the cluster: no locale to try")
}

// initdb builds a cluster beside its place and moves it there. Its files are
// not synced one by one: [Server] does that behind the first start.
func (c *cluster) initdb(ctx context.Context, locale []string) ([]byte, error) {
	fresh, err := os.MkdirTemp(c.data, filepath.Base(c.dir)+".new-*")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the cluster: %w", err)
	}
	var out bytes.Buffer
	err = c.acct.own(fresh)
	if err == nil {
		err = c.runInitdb(ctx, fresh, locale, &out)
	}
	if err == nil {
		err = os.Rename(fresh, c.dir)
	}
	if err != nil {
		return out.Bytes(), errors.Join(fmt.Errorf("making the cluster: %w: %s", err, lastLines(out.Bytes())), os.RemoveAll(fresh))
	}
	return nil, nil
}

func (c *cluster) runInitdb(ctx context.Context, dir string, locale []string, out *bytes.Buffer) error {
	args := append([]string{
		"-D", dir, "-U", superuser, "--encoding=UTF8",
		"--no-sync", "--no-instructions", "--auth-local=peer", "--auth-host=reject",
	}, locale...)
	p, err := start(program{path: c.bins.path("initdb"), args: args, dir: dir, as: c.acct, out: out, death: syscall.SIGKILL})
	if err != nil {
		return err
	}
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		err := p.killGroup()
		<-p.exited
		return errors.Join(ctx.Err(), err)
	}
}

// configure writes who may connect: our own account, as the superuser or the
// owner, over the socket. It runs at each start, since the account may change.
func (c *cluster) configure() error {
	peer := `"` + strings.ReplaceAll(c.acct.peer, `"`, `""`) + `"`
	files := map[string]string{
		"pg_hba.conf":   "local all all peer map=heddle\n",
		"pg_ident.conf": "heddle " + peer + " " + superuser + "\nheddle " + peer + " " + Owner + "\n",
	}
	for name, text := range files {
		path := filepath.Join(c.dir, name)
		old, err := os.ReadFile(path)
		if err == nil && string(old) == text {
			continue
		}
		if err := replaceFile(path, []byte(text), c.acct.own); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// arguments are the server's command line. Settings are given here and not in
// a file, so that a start never runs with those of an older release.
func (c *cluster) arguments(volatile bool, settings map[string]string) []string {
	all := map[string]string{
		"listen_addresses": "",
		// The list is split at commas outside quotes.
		"unix_socket_directories": `"` + strings.ReplaceAll(c.sock, `"`, `""`) + `"`,
		"unix_socket_permissions": "0700",
		"port":                    socketPort,
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		// Errors reach the client, which logs them; their texts, details and
		// statements hold what people wrote, which no log may.
		"log_min_messages":        "log",
		"log_min_error_statement": "panic",
		"log_error_verbosity":     "terse",
		"log_checkpoints":         "off",
	}
	if volatile {
		for _, name := range [...]string{"fsync", "synchronous_commit", "full_page_writes"} {
			all[name] = "off"
		}
	}
	for name, value := range settings {
		all[name] = value
	}
	args := []string{"-D", c.dir}
	for name, value := range all {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

// sync flushes every file of the cluster to the disk, until stop is closed.
func (c *cluster) sync(stop <-chan struct{}) error {
	return filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		select {
		case <-stop:
			return fs.SkipAll
		default:
		}
		if err == nil && (entry.IsDir() || entry.Type().IsRegular()) {
			err = syncFile(path)
		}
		// The running server makes and removes files all the time.
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// lastLines is the end of a program's output, for an error.
func lastLines(out []byte) string {
	const limit = 2048
	out = bytes.TrimSpace(out)
	if len(out) > limit {
		out = out[len(out)-limit:]
	}
	return string(out)
}
