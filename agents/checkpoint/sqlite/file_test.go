package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/sqlite"
	"github.com/heddle/heddle/internal/fault"
)

// said is a step that adds one message and counts.
func said(line agents.LineID, n int, text string) agents.Step {
	m := agents.Message{ID: agents.MessageID(fmt.Sprint("m", n)), Role: agents.RoleUser, Text: text}
	return agents.Step{Line: line, Step: n, Source: agents.SourceLoop, Messages: []agents.Message{m}, Clear: true,
		Ops:    []agents.Op{{Kind: agents.OpAppend, ID: m.ID}},
		Deltas: map[string][]agents.Delta{"count": {{Op: agents.DeltaAdd, Value: []byte("1")}}},
		Next:   agents.DueNodes("agent")}
}

func state(t testing.TB, c *sqlite.Checkpointer, thread agents.ThreadID) agents.State {
	t.Helper()
	s, err := c.State(t.Context(), thread, "")
	require.NoError(t, err)
	return s
}

func take(t testing.TB, c *sqlite.Checkpointer, thread agents.ThreadID) (agents.Lease, agents.State) {
	t.Helper()
	lease, err := c.Acquire(t.Context(), thread)
	require.NoError(t, err)
	return lease, state(t, c, thread)
}

func TestASecondHandlesNewerLeaseFencesTheFirst(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "heddle.db")
	one, two := open(t, sqlite.Options{Path: path}), open(t, sqlite.Options{Path: path})
	old, s := take(t, one, "t")
	require.NoError(t, one.Commit(t.Context(), old, said(s.Line, 0, "by one")))
	lease, s := take(t, two, "t")
	require.Equal(t, 0, s.Step, "the second sees what the first wrote")
	require.ErrorIs(t, one.Commit(t.Context(), old, said(s.Line, 1, "late")), agents.ErrFenced)
	require.ErrorIs(t, one.Pend(t.Context(), old, agents.PendingWrites{Line: s.Line, Step: 0, Pending: []agents.Pending{{Task: 0}}}), agents.ErrFenced)
	require.NoError(t, two.Commit(t.Context(), lease, said(s.Line, 1, "by two")))
	got := state(t, one, "t")
	require.Equal(t, "by two", got.Messages[1].Text)
	require.Empty(t, got.Pending)
}

func TestManyHandlesOpenOneNewFileAndWriteItTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "heddle.db")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = fill(t.Context(), path, agents.ThreadID(fmt.Sprint("t", i))) })
	}
	wg.Wait()
	c := open(t, sqlite.Options{Path: path})
	for i, err := range errs {
		require.NoError(t, err)
		require.Len(t, state(t, c, agents.ThreadID(fmt.Sprint("t", i))).Messages, 30)
	}
}

// fill opens the file and commits 30 steps, and something pending at each.
func fill(ctx context.Context, path string, thread agents.ThreadID) error {
	c, err := sqlite.Open(ctx, sqlite.Options{Path: path, BusyTimeout: time.Minute})
	if err != nil {
		return err
	}
	lease, err := c.Acquire(ctx, thread)
	for n := 0; n < 30 && err == nil; n++ {
		var s agents.State
		if s, err = c.State(ctx, thread, ""); err == nil {
			err = c.Commit(ctx, lease, said(s.Line, n, "x"))
		}
		if err == nil {
			err = c.Pend(ctx, lease, agents.PendingWrites{Line: s.Line, Step: n, Pending: []agents.Pending{{Task: 0}}})
		}
	}
	if closeErr := c.Close(); err == nil {
		err = closeErr
	}
	return err
}

func TestAFileThatIsOpenedAgainHoldsAll(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "heddle.db")
	c, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	require.NoError(t, err)
	lease, s := take(t, c, "t")
	for n := range 120 {
		require.NoError(t, c.Commit(t.Context(), lease, said(s.Line, n, fmt.Sprint("text ", n))))
	}
	_, err = c.Fork(t.Context(), lease, agents.CheckpointID(s.Line, 60))
	require.NoError(t, err)
	require.NoError(t, c.Copy(t.Context(), "t", "u"))
	require.NoError(t, c.Pend(t.Context(), lease, agents.PendingWrites{Line: s.Line, Step: 119, Pending: []agents.Pending{{Task: 0, Result: &agents.Result{}}}}))
	q := agents.HistoryQuery{Limit: 1000}
	want, err := c.History(t.Context(), "t", q)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "closing twice is closing once")
	_, err = c.State(t.Context(), "t", "")
	require.ErrorContains(t, err, "closed")
	require.Error(t, c.Commit(t.Context(), lease, said(s.Line, 120, "late")))
	_, err = os.Stat(path + "-wal")
	require.ErrorIs(t, err, os.ErrNotExist, "a closed database is one file")

	c = open(t, sqlite.Options{Path: path})
	got, err := c.History(t.Context(), "t", q)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, 60, state(t, c, "u").Step)
	at, err := c.State(t.Context(), "t", agents.CheckpointID(s.Line, 119))
	require.NoError(t, err)
	require.Len(t, at.Pending, 1)
	fork := state(t, c, "t").Line
	require.NoError(t, c.Commit(t.Context(), lease, said(fork, 61, "goes on")), "a lease outlives the process")
}

func TestWhatCannotBeOpenedSaysWhy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) string {
		require.NoError(t, os.WriteFile(at(name), []byte(text), 0o600))
		return at(name)
	}
	made := func(name, sql string) string {
		db, err := sqlite3.Open(at(name))
		require.NoError(t, err)
		require.NoError(t, db.Exec(sql))
		require.NoError(t, db.Close())
		return at(name)
	}
	ours := at("ours.db")
	require.NoError(t, fill(t.Context(), ours, "t"))
	for name, c := range map[string]struct{ path, says string }{
		"nothing":              {"", "must be given"},
		"another kind of URL":  {"postgres://localhost/heddle", "must be a file's name or a URL that begins with file:"},
		"no directory":         {at("absent/heddle.db"), "must be a file that may be made or opened, in a directory that is there"},
		"a directory":          {dir, "must be a file that may be made or opened, in a directory that is there"},
		"below a file":         {filepath.Join(write("plain", "x"), "heddle.db"), "must be a file that may be made or opened, in a directory that is there"},
		"for reading only":     {"file:" + ours + "?mode=ro", "must be a file that may be written"},
		"no database":          {write("text.db", strings.Repeat("this is no database ", 100)), "is no SQLite database"},
		"another program's":    {made("other.db", "create table users (id integer)"), "is a database of another program"},
		"another with numbers": {made("numbers.db", "pragma user_version = 1"), "is a database of another program"},
		"of a newer version": {made("newer.db", "pragma application_id = 0x4864646c; pragma user_version = 99"),
			"is a database of a newer version: it has schema 99, and this program knows up to 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sqlite.Open(t.Context(), sqlite.Options{Path: c.path})
			require.Error(t, err)
			require.Equal(t, fault.KindInvalid, fault.KindOf(err), "%v", err)
			require.Equal(t, c.says, fault.FieldsOf(err)["path"])
		})
	}
	text, err := os.ReadFile(at("text.db"))
	require.NoError(t, err)
	require.Len(t, text, 2000, "what is not ours is left alone")
}

func TestAURLIsAPath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "heddle.db")
	require.NoError(t, fill(t.Context(), "file:"+path+"?mode=rwc", "t"))
	require.Len(t, state(t, open(t, sqlite.Options{Path: path}), "t").Messages, 30)
}

func TestACallEndsWithItsContextWhileAnotherProgramWrites(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "heddle.db")
	c := open(t, sqlite.Options{Path: path, BusyTimeout: time.Hour})
	lease, s := take(t, c, "t")
	other, err := sqlite3.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	require.NoError(t, other.Exec("begin immediate"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = c.Commit(ctx, lease, said(s.Line, 0, "a"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, -1, state(t, c, "t").Step, "readers wait for nobody")
	require.NoError(t, other.Exec("rollback"))
	require.NoError(t, c.Commit(t.Context(), lease, said(s.Line, 0, "a")))

	hasty := open(t, sqlite.Options{Path: path, BusyTimeout: time.Millisecond})
	require.NoError(t, other.Exec("begin immediate"))
	err = hasty.Commit(t.Context(), lease, said(s.Line, 1, "b"))
	require.Equal(t, fault.KindUnavailable, fault.KindOf(err), "%v", err)
	require.NoError(t, other.Exec("rollback"))
}

func TestBytesPerStepDoNotGrowWithTheThread(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "heddle.db")
	c := open(t, sqlite.Options{Path: path, Relaxed: true})
	lease, s := take(t, c, "t")
	size := func(from, to int) int64 {
		for n := from; n < to; n++ {
			require.NoError(t, c.Commit(t.Context(), lease, said(s.Line, n, strings.Repeat("x", 300))))
		}
		db, err := sqlite3.Open(path)
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		pages, _, err := db.Prepare("select page_count * page_size from pragma_page_count, pragma_page_size")
		require.NoError(t, err)
		defer pages.Close()
		require.True(t, pages.Step())
		return pages.ColumnInt64(0)
	}
	start := size(0, 100)
	early := size(100, 400) - start
	later := size(400, 700) - early - start
	last := size(700, 999) - later - early - start
	t.Logf("300 steps of one message of 300 bytes: %d, %d and %d bytes", early, later, last)
	require.Less(t, last, early+early/10)
}
