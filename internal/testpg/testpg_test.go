package testpg

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/store/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Wrap(m)) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // its database may be gone
	return conn
}

func scan[T any](t *testing.T, conn *pgx.Conn, query string, args ...any) T {
	t.Helper()
	var value T
	require.NoError(t, conn.QueryRow(t.Context(), query, args...).Scan(&value))
	return value
}

// words is a template with one row that counts its preparations.
func words(prepared *atomic.Int32) Template {
	return Template{Name: "words", Prepare: func(ctx context.Context, url string) error {
		prepared.Add(1)
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "create table words as select 'first' as word")
		return errors.Join(err, conn.Close(ctx))
	}}
}

func TestEachTestGetsACopyOfATemplatePreparedOnce(t *testing.T) {
	var prepared atomic.Int32
	template := words(&prepared)
	t.Run("group", func(t *testing.T) {
		for range 4 {
			t.Run("copy", func(t *testing.T) {
				t.Parallel()
				conn := connect(t, Database(t, template))
				require.Equal(t, 1, scan[int](t, conn, "select count(*) from words"))
				_, err := conn.Exec(t.Context(), "insert into words values ('mine')")
				require.NoError(t, err)
			})
		}
	})
	require.EqualValues(t, 1, prepared.Load())
}

func TestDatabaseIsDroppedAtTheTestsEndWhoeverIsConnected(t *testing.T) {
	var name string
	var held *pgx.Conn
	t.Run("inner", func(t *testing.T) {
		url := Database(t, Template{Name: "empty"})
		// Not closed by a clean-up of this test: it is open while the drop runs.
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		name, held = conn.Config().Database, conn
	})
	conn := connect(t, Database(t, Template{Name: "empty"}))
	require.Zero(t, scan[int](t, conn, "select count(*) from pg_database where datname = $1", name))
	require.Error(t, held.Ping(t.Context()))
}

func TestOwnerIsNoSuperuserAndMayMakeRoles(t *testing.T) {
	conn := connect(t, Database(t, Template{Name: "empty"}))
	require.False(t, scan[bool](t, conn, "select rolsuper or rolbypassrls from pg_roles where rolname = current_user"))
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "create role heddle_testpg_probe")
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(t.Context()))
}

// recorder is a test that notes its failure instead of failing.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = format
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			r.failed += " " + err.Error()
		}
	}
	panic(r)
}

func fails(t *testing.T, template Template) string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() { _ = recover() }() // the recorder's own panic ends Database as Fatalf would
		Database(r, template)
	}()
	return r.failed
}

func TestTemplateThatCannotBePreparedFailsEveryTest(t *testing.T) {
	broken := Template{Name: "broken", Prepare: func(context.Context, string) error { return errors.New("no such migration") }}
	require.Contains(t, fails(t, broken), "no such migration")
	require.Contains(t, fails(t, broken), "no such migration")
	require.Contains(t, fails(t, Template{Name: "Bad Name"}), "its name must be")
}

// TestGivenServerIsUsedAndChecked plays a process that was given a server.
func TestGivenServerIsUsedAndChecked(t *testing.T) {
	c := &cluster{}
	require.NoError(t, c.start(t.Context()))
	t.Cleanup(func() { require.NoError(t, c.close(context.Background())) })

	t.Setenv(urlVariable, c.server.URL())
	given, err := open(t.Context())
	require.NoError(t, err)
	require.Nil(t, given.server)
	var prepared atomic.Int32
	name, err := given.clone(t.Context(), words(&prepared))
	require.NoError(t, err)
	conn := connect(t, given.url(name))
	require.Equal(t, "first", scan[string](t, conn, "select word from words"))
	require.NoError(t, given.drop(t.Context(), name))
	require.NoError(t, given.close(t.Context()))
	conn = connect(t, c.server.URL())
	require.Zero(t, scan[int](t, conn, "select count(*) from pg_database where datname like 'test_%' or datname like 'template\\_%'"))

	t.Setenv(urlVariable, "host=/somewhere")
	_, err = open(t.Context())
	require.ErrorContains(t, err, "must begin with postgres://")
}

func TestServerWhoseRoleLacksRightsIsRefused(t *testing.T) {
	dir, err := os.MkdirTemp("", "heddle-testpg-given-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	s, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, Volatile: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	t.Setenv(urlVariable, s.URL())
	_, err = open(t.Context())
	require.ErrorContains(t, err, "needs CREATEDB and CREATEROLE")
}

func TestDirectoriesOfKilledRunsAreSweptAndLiveOnesKept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	long := time.Now().Add(-time.Hour)
	dirs := map[string]string{}
	for _, name := range []string{"dead", "live", "young"} {
		dirs[name] = filepath.Join(os.TempDir(), dirPrefix+name)
		lock, err := embedded.Lock(dirs[name])
		require.NoError(t, err)
		if name == "live" {
			t.Cleanup(func() { require.NoError(t, lock.Release()) })
		} else {
			require.NoError(t, lock.Release())
		}
		if name != "young" {
			require.NoError(t, os.Chtimes(dirs[name], long, long))
		}
	}
	sweep()
	require.NoDirExists(t, dirs["dead"])
	require.DirExists(t, dirs["live"])
	require.DirExists(t, dirs["young"])
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
	require.Contains(t, fails(t, Template{Name: "empty"}), "testpg.Main(m)")
}

// TestServerThatIsAwayFailsTheTest asks for a database in a process of its own.
func TestServerThatIsAwayFailsTheTest(t *testing.T) {
	if os.Getenv("HEDDLE_TESTPG_INNER") != "" {
		Database(t, Template{Name: "empty"})
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.v", "-test.run=^TestServerThatIsAwayFailsTheTest$")
	cmd.Env = append(os.Environ(), "HEDDLE_TESTPG_INNER=1", urlVariable+"=postgres://nobody@127.0.0.1:1/none")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "--- FAIL: TestServerThatIsAwayFailsTheTest")
}

func BenchmarkDatabase(b *testing.B) {
	Database(b, Template{Name: "empty"}) // starts the server
	for b.Loop() {
		Database(b, Template{Name: "empty"})
	}
}
