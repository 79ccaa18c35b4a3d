package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

const appDirVariable = "HEDDLE_TEST_APP_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(appDirVariable); dir != "" {
		if err := beApp(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(seed.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

// seed is a cluster made once, which tests copy where the making is not what
// they are about. It holds a table "kept" with the answer 42.
var seed struct {
	once sync.Once
	dir  string
}

// appReport is what a process that plays the application tells its test.
type appReport struct {
	URL        string
	Postmaster int
}

// beApp starts a server, reports it, and stops it when its input ends. Like the
// application it survives a Ctrl-C in order to stop in its own order.
func beApp(dir string) error {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT)
	lock, err := Lock(dir)
	if err != nil {
		return err
	}
	s, err := Start(context.Background(), Options{Lock: lock, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := lock.WriteRun(RunFile{DatabaseURL: s.URL(), RedisURL: "redis://x"}); err != nil {
		return err
	}
	pid := postmasterPID(filepath.Join(s.cluster.dir, "postmaster.pid"))
	if err := json.NewEncoder(os.Stdout).Encode(appReport{URL: s.URL(), Postmaster: pid}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Stop(context.Background())
}

// app is another process that runs a server.
type app struct {
	appReport
	cmd   *exec.Cmd
	stdin io.Closer
}

// startApp starts one; adapt may change the command, nil leaves it.
func startApp(t *testing.T, dir string, adapt func(*exec.Cmd)) *app {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), appDirVariable+"="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if adapt != nil {
		adapt(cmd)
	}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	a := &app{cmd: cmd, stdin: stdin}
	t.Cleanup(a.kill)
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err, "the other process started no server")
	require.NoError(t, json.Unmarshal(line, &a.appReport))
	return a
}

// kill ends the process as a crash would.
func (a *app) kill() {
	_ = a.cmd.Process.Kill() // it may have ended
	_ = a.cmd.Wait()
}

// openDir is a directory that every account can pass through, unlike t.TempDir.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "heddle-embedded-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	return filepath.Join(dir, "data")
}

// madeDir is a data directory that holds a cluster already.
func madeDir(t *testing.T) string {
	t.Helper()
	seed.once.Do(func() {
		dir, err := os.MkdirTemp("", "heddle-embedded-seed-")
		require.NoError(t, err)
		seed.dir = dir
		require.NoError(t, os.Chmod(dir, 0o711))
		s, err := Start(testContext(t), Options{DataDir: filepath.Join(dir, "data"), Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		run(t, s.URL(), "create table kept as select 42 as answer")
		stop(t, s)
	})
	dir := openDir(t)
	out, err := exec.Command("cp", "-a", filepath.Join(seed.dir, "data"), dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// startIn starts a volatile server in dir that is stopped at the test's end.
func startIn(t *testing.T, dir string) *Server {
	t.Helper()
	return startWith(t, Options{DataDir: dir, Volatile: true})
}

func startWith(t *testing.T, opts Options) *Server {
	t.Helper()
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := Start(testContext(t), opts)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, s.Stop(ctx))
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func connectTo(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	ctx := testContext(t)
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // its server may be gone
	return conn
}

// ask runs a query of one row and one column over a connection of its own.
func ask[T any](t *testing.T, url, query string) T {
	t.Helper()
	conn := connectTo(t, url)
	var answer T
	require.NoError(t, conn.QueryRow(testContext(t), query).Scan(&answer))
	require.NoError(t, conn.Close(testContext(t)))
	return answer
}

func run(t *testing.T, url, statement string) {
	t.Helper()
	conn := connectTo(t, url)
	_, err := conn.Exec(testContext(t), statement)
	require.NoError(t, err)
	require.NoError(t, conn.Close(testContext(t)))
}

// eventually waits for a condition that no channel tells of.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, what)
}

// alive tells of a process that has not ended; a zombie has.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && len(state) > 0 && state[0] != 'Z'
}

// uidOf is the account of a process as seen from here.
func uidOf(t *testing.T, pid int) int {
	t.Helper()
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	require.NoError(t, err)
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

func pidOf(s *Server) int { return postmasterPID(filepath.Join(s.cluster.dir, "postmaster.pid")) }

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can drop to another account")
	}
}
