package embedded

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSecondInstanceNamesTheFirst(t *testing.T) {
	dir := madeDir(t)
	first := startApp(t, dir, nil)
	_, err := Start(testContext(t), Options{DataDir: dir})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, first.cmd.Process.Pid, locked.PID)
	require.ErrorContains(t, err, "another instance (pid "+strconv.Itoa(first.cmd.Process.Pid)+")")
	require.ErrorContains(t, err, "DATABASE_URL and REDIS_URL")

	run, err := ReadRun(dir)
	require.NoError(t, err)
	require.Equal(t, RunFile{PID: first.cmd.Process.Pid, DatabaseURL: first.URL, RedisURL: "redis://x"}, run)
	require.Equal(t, 1, ask[int](t, run.DatabaseURL, "select 1"), "others attach by the run file")

	first.kill()
	_, err = ReadRun(dir)
	require.ErrorIs(t, err, ErrNotRunning, "a dead owner's run file counts for nothing")
}

func TestServerEndsWithItsKilledOwnerAndStartsAgain(t *testing.T) {
	dir := madeDir(t)
	first := startApp(t, dir, nil)
	run(t, first.URL, "update kept set answer = 43")
	first.kill()
	// No waiting here: the next start has to cope with a server that is still going down.
	s := startIn(t, dir)
	require.False(t, alive(t, first.Postmaster))
	require.Equal(t, 43, ask[int](t, s.URL(), "select answer from kept"))
}

func TestServerLeftWithoutOwnerEndsByItself(t *testing.T) {
	dir := madeDir(t)
	first := startApp(t, dir, nil)
	first.kill()
	eventually(t, "the server ends", func() bool { return !alive(t, first.Postmaster) })
}

func TestStartAfterOwnerAndServerWereKilled(t *testing.T) {
	dir := madeDir(t)
	first := startApp(t, dir, nil)
	run(t, first.URL, "update kept set answer = 43")
	require.NoError(t, first.cmd.Process.Signal(syscall.SIGSTOP)) // so that it mends nothing
	require.NoError(t, syscall.Kill(first.Postmaster, syscall.SIGKILL))
	first.kill()
	require.FileExists(t, filepath.Join(dir, "postgres", "postmaster.pid"))
	require.FileExists(t, filepath.Join(dir, "sock", socketName+".lock"))
	s := startIn(t, dir)
	require.Equal(t, 43, ask[int](t, s.URL(), "select answer from kept"))
}

func TestStalePidThatIsAZombieOrAStrangerIsCured(t *testing.T) {
	for name, command := range map[string][]string{
		"Zombie":   {"true"},
		"Stranger": {"sleep", "600"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := madeDir(t)
			s := startIn(t, dir)
			c := s.cluster
			pidFile, err := os.ReadFile(filepath.Join(c.dir, "postmaster.pid"))
			require.NoError(t, err)
			_, rest, _ := strings.Cut(string(pidFile), "\n")
			stop(t, s)

			path, err := exec.LookPath(command[0])
			require.NoError(t, err)
			other := exec.Command(path, command[1:]...)
			// PostgreSQL only minds processes of its own account.
			other.SysProcAttr = &syscall.SysProcAttr{Credential: c.acct.drop}
			require.NoError(t, other.Start())
			t.Cleanup(func() {
				_ = other.Process.Kill()
				_ = other.Wait()
			})
			pid := other.Process.Pid
			if name == "Zombie" {
				eventually(t, "the process becomes a zombie", func() bool { return !alive(t, pid) })
			}
			stale := strconv.Itoa(pid) + "\n" + rest
			for _, file := range []string{filepath.Join(c.dir, "postmaster.pid"), filepath.Join(c.sock, socketName+".lock")} {
				require.NoError(t, os.WriteFile(file, []byte(stale), 0o600))
				require.NoError(t, c.acct.own(file))
			}
			require.ErrorContains(t, bareStart(t, &c), "already exists", "without the cure the server refuses")

			again := startIn(t, dir)
			require.Equal(t, 1, ask[int](t, again.URL(), "select 1"))
			if name == "Stranger" {
				require.True(t, alive(t, pid), "a stranger is left alone")
			}
		})
	}
}

// bareStart runs the server's program without any of our care.
func bareStart(t *testing.T, c *cluster) error {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer out.Close()
	p, err := start(program{path: c.bins.path("postgres"), args: c.arguments(true, nil), dir: c.dir, as: c.acct, out: out, death: syscall.SIGKILL})
	require.NoError(t, err)
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.NoError(t, p.killGroup())
		<-p.exited
	}
	return fmt.Errorf("%v: %s", p.err, tail(out, 0))
}

func TestServerOfALostOwnerIsStoppedBeforeTheNextStarts(t *testing.T) {
	dir := madeDir(t)
	s := startIn(t, dir)
	c := s.cluster
	stop(t, s)
	// A server nobody owns, as where no death signal reached it.
	p, err := start(program{path: c.bins.path("postgres"), args: c.arguments(true, nil), dir: c.dir, as: c.acct, out: io.Discard, death: syscall.SIGKILL})
	require.NoError(t, err)
	conn, err := c.connect(testContext(t), p)
	require.NoError(t, err)
	require.NoError(t, conn.Close(testContext(t)))

	again := startIn(t, dir)
	<-p.exited
	require.Equal(t, 1, ask[int](t, again.URL(), "select 1"))
}

func TestHalfMadeClusterIsThrownAway(t *testing.T) {
	dir := openDir(t)
	half := filepath.Join(dir, "postgres.new-1")
	require.NoError(t, os.MkdirAll(filepath.Join(half, "base"), 0o700))
	require.NoError(t, os.Chmod(dir, 0o711))
	require.NoError(t, os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("15\n"), 0o600))
	s := startIn(t, dir)
	require.NoDirExists(t, half)
	require.Equal(t, 1, ask[int](t, s.URL(), "select 1"))
}

func TestInterruptFromTheTerminalDoesNotReachTheServer(t *testing.T) {
	dir := madeDir(t)
	a := startApp(t, dir, nil)
	conn := connectTo(t, a.URL)
	require.NoError(t, syscall.Kill(-a.cmd.Process.Pid, syscall.SIGINT))
	var answer int
	// A fast shutdown would cut this connection while it sleeps in the server.
	require.NoError(t, conn.QueryRow(testContext(t), "select 1 from pg_sleep(0.2)").Scan(&answer))
	require.NoError(t, conn.Close(testContext(t)))
	require.NoError(t, a.stdin.Close())
	require.NoError(t, a.cmd.Wait(), "the application then stops in its own order")
}

func TestOrdinaryAccountRunsItsOwnServer(t *testing.T) {
	needRoot(t)
	u, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(u.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(u.Gid)
	require.NoError(t, err)
	dir := openDir(t)
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chown(dir, uid, gid))
	// The test binary lies where only root can run it.
	self, err := os.Executable()
	require.NoError(t, err)
	binary := filepath.Join(filepath.Dir(dir), "app")
	copyFile(t, self, binary)
	a := startApp(t, dir, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = binary, "/"
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	})
	require.Equal(t, uid, uidOf(t, a.Postmaster))
	require.NoError(t, a.stdin.Close())
	require.NoError(t, a.cmd.Wait())
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

func TestGuardSignalsWhenItsPipeEnds(t *testing.T) {
	p, err := start(program{path: "/bin/sleep", args: []string{"600"}, dir: "/", death: syscall.SIGINT, out: io.Discard})
	require.NoError(t, err)
	g, err := startGuard(p.pid, syscall.SIGINT)
	require.NoError(t, err)
	require.NoError(t, g.hold.Close()) // what the kernel does when we are gone
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatal("the guard sent nothing")
	}
	require.EqualError(t, p.err, "signal: interrupt")
	g.end()
}

func TestGuardGoesWithTheProcessItWatches(t *testing.T) {
	p, err := start(program{path: "/bin/sleep", args: []string{"600"}, dir: "/", death: syscall.SIGTERM, guard: true, out: io.Discard})
	require.NoError(t, err)
	require.NoError(t, p.signal(syscall.SIGINT))
	select {
	case <-p.exited: // closed after the guard has ended
	case <-time.After(patience):
		t.Fatal("the process or its guard did not end")
	}
	require.EqualError(t, p.err, "signal: interrupt")
	require.NoError(t, p.signal(syscall.SIGINT), "a process that has ended takes no signal")
}

func TestMissingLocaleFallsBack(t *testing.T) {
	dir := openDir(t)
	lock, err := Lock(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, lock.Release()) }()
	ctx := context.Background()
	c := cluster{data: dir, dir: filepath.Join(dir, "postgres"), sock: filepath.Join(dir, "sock")}
	c.bins, err = findBinaries(ctx, "", 0)
	require.NoError(t, err)
	c.acct, err = chooseAccount(ctx, c.bins, dir)
	require.NoError(t, err)
	fresh, err := c.create(testContext(t), [][]string{{"--locale=xx_XX.UTF-8"}, {"--locale=C"}})
	require.NoError(t, err)
	require.True(t, fresh)
	major, err := clusterMajor(c.dir)
	require.NoError(t, err)
	require.Equal(t, c.bins.major, major)
}
