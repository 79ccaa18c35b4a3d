package chaos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/internal/failpoint"
)

// quiet takes what the Redis client says about a server that was killed.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	goleak.VerifyTestMain(runner{m})
}

// runner removes the node after the tests.
type runner struct{ *testing.M }

func (r runner) Run() int {
	code := r.M.Run()
	if builds.path != "" {
		_ = os.RemoveAll(filepath.Dir(builds.path))
	}
	return code
}

// seed is the short tier's of every test run.
const seed = 7

var builds struct {
	once sync.Once
	path string
	err  error
}

// binary builds the node once for all tests of this process.
func binary(t *testing.T) string {
	t.Helper()
	builds.once.Do(func() {
		dir, err := os.MkdirTemp("", "heddle-chaos-node-")
		if err != nil {
			builds.err = err
			return
		}
		builds.path = filepath.Join(dir, "node")
		cmd := exec.Command("go", "build", "-tags", "chaos", "-o", builds.path, "./node")
		if out, err := cmd.CombinedOutput(); err != nil {
			builds.err = fmt.Errorf("building the node: %w: %s", err, out)
		}
	})
	require.NoError(t, builds.err)
	return builds.path
}

func carryOut(t *testing.T, o Options) *Report {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("a harness that is killed leaves its nodes behind elsewhere")
	}
	dir, err := os.MkdirTemp("", "heddle-chaos-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711), "PostgreSQL's account has to pass through")
	o.Binary, o.Dir = binary(t), dir
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	return r
}

func TestNoPromiseBreaksUnderFaults(t *testing.T) {
	tier := Short()
	r := carryOut(t, Options{Tier: tier, Plan: NewPlan(seed, tier)})
	t.Log(r.Markdown())
	if !r.Passed() {
		t.Log(strings.Join(r.Log, "\n"))
		require.Fail(t, "promises were broken", "make chaos SEED=%d carries out the same plan", seed)
	}
}

func TestARollingRestartLosesNoRun(t *testing.T) {
	tier, plan := Rolling(seed)
	r := carryOut(t, Options{Tier: tier, Plan: plan})
	t.Log(r.Markdown())
	require.Empty(t, r.Violations, strings.Join(r.Log, "\n"))
	require.Equal(t, 2, r.counts[string(Drain)])
	require.NotZero(t, r.counts[sawContinuing], "people watched runs that were handed over")
	require.Zero(t, r.counts[sawTakenBack], "they saw at most that")
	require.Zero(t, r.counts[sawFailure])
	require.Zero(t, r.counts["run given up after three lost attempts"])
}

func TestAPromiseThatIsTakenAwayIsMissed(t *testing.T) {
	for off, want := range map[string]Violation{
		"fencing": {"I4", "had begun"},
		"journal": {"I3", "more than one effect"},
		"replay":  {"I5", "was sent"},
	} {
		t.Run(off, func(t *testing.T) {
			t.Parallel()
			tier, plan, ok := Control(off)
			require.True(t, ok)
			r := carryOut(t, Options{Tier: tier, Plan: plan, Off: off})
			for _, v := range r.Violations {
				if v.Invariant == want.Invariant && strings.Contains(v.Detail, want.Detail) {
					return
				}
			}
			require.Fail(t, "nobody noticed", "%s\n%s", r.Markdown(), strings.Join(r.Log, "\n"))
		})
	}
}

func TestASeedMakesOnePlanAndAnotherAnother(t *testing.T) {
	for _, tier := range []Tier{Short(), Long()} {
		require.Equal(t, NewPlan(1, tier), NewPlan(1, tier))
		require.NotEqual(t, NewPlan(1, tier).Nodes, NewPlan(2, tier).Nodes)
		counts := map[Kind]int{}
		p := NewPlan(3, tier)
		for _, list := range append(p.Nodes, p.Servers) {
			for i, f := range list {
				counts[f.Kind]++
				require.GreaterOrEqual(t, f.At, tier.Calm)
				require.Less(t, f.At, tier.Load)
				if i > 0 {
					require.GreaterOrEqual(t, f.At, list[i-1].At)
				}
			}
		}
		require.Equal(t, tier.Kills, counts[Kill])
		require.Equal(t, tier.Points, counts[AtPoint(failpoint.AfterTool)])
		require.Equal(t, tier.Crashes, counts[Crash])
		require.Equal(t, 1, counts[ClockSkew])
	}
}

func TestALinkThatIsHalfOpenStaysDeadForWhatWasOpen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer listener.Close()
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer conn.Close(); _, _ = io.Copy(conn, conn) })
		}
	})
	p, err := startProxy("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer p.close()
	open := func() net.Conn {
		conn, err := net.Dial("tcp", p.addr())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	echoes := func(conn net.Conn) bool {
		require.NoError(t, conn.SetDeadline(time.Now().Add(500*time.Millisecond)))
		if _, err := conn.Write([]byte{1}); err != nil {
			return false
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err == nil
	}
	old := open()
	require.True(t, echoes(old))
	p.turn(half)
	require.False(t, echoes(old))
	p.turn(clear)
	require.False(t, echoes(old), "nobody told it")
	require.True(t, echoes(open()))
	last := open()
	require.True(t, echoes(last))
	p.turn(cut)
	require.False(t, echoes(last))
	require.False(t, echoes(open()))
}

func TestTheNodeHasFailPoints(t *testing.T) {
	text, err := os.ReadFile(binary(t))
	require.NoError(t, err)
	for _, p := range everyPoint {
		require.True(t, bytes.Contains(text, []byte(p)), p)
	}
	require.True(t, bytes.Contains(text, []byte("heddle-failpoints-are-live")))
}
