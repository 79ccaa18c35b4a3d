package signin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/migrations"
	"github.com/heddle/heddle/store"
)

// databaseURL is the migrated database of this package's tests, owned by a
// role that is no superuser.
var databaseURL string

func TestMain(m *testing.M) {
	code, err := withDatabase(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withDatabase runs fn beside a fresh PostgreSQL.
func withDatabase(fn func() int) (int, error) {
	bin, err := binaries()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "heddle-signin")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sys := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		if sys.Credential, err = plainUser(dir); err != nil {
			return 0, err
		}
	}
	run := func(name string, args ...string) error {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.SysProcAttr, cmd.Dir = sys, dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", name, err, out)
		}
		return nil
	}
	data := filepath.Join(dir, "data")
	if err := run("initdb", "-D", data, "-U", "boss", "-A", "trust", "--no-sync", "-E", "UTF8"); err != nil {
		return 0, err
	}
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	var log bytes.Buffer
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
	server.SysProcAttr, server.Dir, server.Stdout, server.Stderr = sys, dir, &log, &log
	if err := server.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = server.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = server.Wait()
	}()
	if err := prepare(port); err != nil {
		return 0, err
	}
	return fn(), nil
}

func prepare(port int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	boss := fmt.Sprintf("postgres://boss@127.0.0.1:%d/postgres?sslmode=disable", port)
	conn, err := pgx.Connect(ctx, boss)
	for err != nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
		conn, err = pgx.Connect(ctx, boss)
	}
	if err != nil {
		return err
	}
	for _, sql := range []string{"create role plain login createrole nosuperuser", "create database heddle owner plain"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	databaseURL = fmt.Sprintf("postgres://plain@127.0.0.1:%d/heddle?sslmode=disable", port)
	_, _, err = store.Migrate(ctx, databaseURL, migrations.FS, nil)
	return errors.Join(err, conn.Close(ctx))
}

func binaries() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return "", errors.New("these tests need PostgreSQL: install its server programs")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// plainUser finds an account to run PostgreSQL under, which refuses root, and
// gives it dir.
func plainUser(dir string) (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("no account to run PostgreSQL under")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
