package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/sqlite"
)

// crashPath tells a child of the test binary to commit to this file until it is
// killed.
const crashPath = "HEDDLE_TEST_SQLITE_CRASH"

// perStep is how many messages a step of the child adds: enough pages for a kill
// to come in the middle of writing them.
const perStep = 40

// TestMain is the child, where it is one.
func TestMain(m *testing.M) {
	path := os.Getenv(crashPath)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := commitForever(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// commitForever goes on where the last child was killed, and says the number of
// each step that was confirmed.
func commitForever(path string) error {
	ctx := context.Background()
	c, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	lease, err := c.Acquire(ctx, "t")
	if err != nil {
		return err
	}
	s, err := c.State(ctx, "t", "")
	if err != nil {
		return err
	}
	for n := s.Step + 1; ; n++ {
		if err := c.Commit(ctx, lease, bigStep(s.Line, n)); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func bigStep(line agents.LineID, n int) agents.Step {
	step := agents.Step{Line: line, Step: n, Source: agents.SourceLoop,
		Deltas:  map[string][]agents.Delta{"count": {{Op: agents.DeltaAdd, Value: []byte("1")}}},
		Pending: []agents.Pending{{Task: n, Result: &agents.Result{Also: []string{strings.Repeat("x", 3000)}}}}}
	for i := range perStep {
		m := agents.Message{ID: agents.MessageID(fmt.Sprint(n, "-", i)), Text: strings.Repeat("x", 2000)}
		step.Messages = append(step.Messages, m)
		step.Ops = append(step.Ops, agents.Op{Kind: agents.OpAppend, ID: m.ID})
	}
	return step
}

func TestAKilledProcessLeavesWhatWasBeforeACommitOrAfterIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "heddle.db")
	rnd := rand.New(rand.NewPCG(1, 2))
	confirmed := -1
	for range 12 {
		confirmed = killOne(t, path, rnd.IntN(8))
		c, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		require.NoError(t, err)
		s := state(t, c, "t")
		require.GreaterOrEqual(t, s.Step, confirmed, "what was confirmed is there")
		require.LessOrEqual(t, s.Step, confirmed+1, "and at most the step that was under way")
		require.Len(t, s.Messages, perStep*(s.Step+1))
		require.Equal(t, strconv.Itoa(s.Step+1), string(s.Values["count"]))
		require.Len(t, s.Pending, 1)
		require.Equal(t, s.Step, s.Pending[0].Task)
		require.NoError(t, c.Close())
		require.Equal(t, "ok", integrity(t, path))
	}
	require.Positive(t, confirmed)
}

// killOne lets a child confirm some steps, kills it at once, and gives the last
// step that it confirmed.
func killOne(t *testing.T, path string, steps int) (confirmed int) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), crashPath+"="+path)
	var said strings.Builder
	child.Stderr = &said
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		confirmed, err = strconv.Atoi(lines.Text())
		require.NoError(t, err)
		if n == steps {
			require.NoError(t, child.Process.Kill())
		}
	}
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	require.ErrorContains(t, child.Wait(), "killed", "%s", said.String())
	return confirmed
}

func integrity(t *testing.T, path string) string {
	t.Helper()
	db, err := sqlite3.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	s, _, err := db.Prepare("pragma integrity_check")
	require.NoError(t, err)
	defer s.Close()
	require.True(t, s.Step())
	return s.ColumnText(0)
}
