package testredis

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Wrap(m)) }

func dial(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	opts.MaxRetries, opts.DialerRetries = -1, 1
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestProcessSharesOneServerBehindAPassword(t *testing.T) {
	ctx := within(t)
	first, second := Server(t), Server(t)
	require.Equal(t, first.URL(), second.URL())
	require.NoError(t, dial(t, first.URL()).Set(ctx, "key", "value", 0).Err())
	require.Equal(t, "value", dial(t, second.URL()).Get(ctx, "key").Val())

	stranger := redis.NewClient(&redis.Options{Addr: first.server.address})
	defer func() { require.NoError(t, stranger.Close()) }()
	require.ErrorContains(t, stranger.Get(ctx, "key").Err(), "NOAUTH")
	require.Equal(t, map[string]string{"save": ""}, dial(t, first.URL()).ConfigGet(ctx, "save").Val())

	first.Flush()
	require.ErrorIs(t, dial(t, first.URL()).Get(ctx, "key").Err(), redis.Nil)
}

func TestKilledServerIsGoneAndComesBackEmptyAtTheSameAddress(t *testing.T) {
	ctx := within(t)
	r := Private(t)
	address := r.URL()
	require.NotEqual(t, Server(t).URL(), address)
	client := dial(t, address)
	require.NoError(t, client.Set(ctx, "key", "value", 0).Err())
	r.Kill()
	require.Error(t, client.Ping(ctx).Err())
	r.Kill()
	r.Restart()
	require.Equal(t, address, r.URL())
	require.ErrorIs(t, client.Get(ctx, "key").Err(), redis.Nil)
	r.Restart()
	require.NoError(t, client.Ping(ctx).Err())
}

func TestSharedServerThatATestLeftDeadIsStartedAgain(t *testing.T) {
	Server(t).Kill()
	require.NoError(t, dial(t, Server(t).URL()).Ping(within(t)).Err())
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	s := Private(t).server
	s2 := &server{program: s.program, dir: t.TempDir(), password: "x", address: s.address}
	require.ErrorContains(t, s2.start(within(t)), "in use")
}

func TestMissingProgramIsAnErrorWithAHint(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := open(within(t))
	require.ErrorContains(t, err, "apt install redis-server")
}

func TestPackageWithoutTestMainIsTold(t *testing.T) {
	shared.Lock()
	shared.owned = false
	shared.Unlock()
	defer func() {
		shared.Lock()
		shared.owned = true
		shared.Unlock()
	}()
	_, err := current(within(t))
	require.ErrorContains(t, err, "testredis.Main(m)")
}

// TestServerEndsWithAKilledTestProcess plays that process as well.
func TestServerEndsWithAKilledTestProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends children with their parent")
	}
	const inner = "HEDDLE_TESTREDIS_INNER"
	if os.Getenv(inner) != "" {
		r := Server(t)
		fmt.Printf("pid %d\n", r.server.proc.cmd.Process.Pid)
		<-t.Context().Done()
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^TestServerEndsWithAKilledTestProcess$")
	cmd.Env = append(os.Environ(), inner+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // ended below if all went well
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, ok := strings.CutPrefix(strings.TrimSpace(line), "pid ")
	require.True(t, ok, line)
	require.True(t, running(pid))
	require.NoError(t, cmd.Process.Kill())
	require.Eventually(t, func() bool { return !running(pid) }, limit, 5*time.Millisecond)
}

// running tells of a redis-server with that pid that is no zombie.
func running(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	return err == nil && strings.Contains(string(stat), "(redis-server)") && !strings.Contains(string(stat), ") Z ")
}
