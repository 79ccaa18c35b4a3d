package sqlite_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/sqlite"
)

// BenchmarkCommit commits steps of one message, beside the least that SQLite
// could do: one row with the same bytes, in a transaction of its own.
func BenchmarkCommit(b *testing.B) {
	for _, sync := range []string{"full", "normal"} {
		b.Run("step/"+sync, func(b *testing.B) {
			c := open(b, sqlite.Options{Path: filepath.Join(b.TempDir(), "heddle.db"), Relaxed: sync == "normal"})
			lease, s := take(b, c, "t")
			n := 0
			for b.Loop() {
				step := said(s.Line, n, strings.Repeat("x", 500))
				if n > 0 && n%agents.SnapshotEvery == 0 {
					step.Snapshot = &agents.Snapshot{}
				}
				if err := c.Commit(b.Context(), lease, step); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
		b.Run("row/"+sync, func(b *testing.B) {
			db, err := sqlite3.Open(filepath.Join(b.TempDir(), "row.db"))
			require.NoError(b, err)
			defer db.Close()
			require.NoError(b, db.Exec("pragma journal_mode = wal; pragma synchronous = "+sync+"; create table rows (no integer primary key, body text)"))
			put, _, err := db.Prepare("insert into rows (body) values (@body)")
			require.NoError(b, err)
			defer put.Close()
			body, err := json.Marshal(said("00000000-0000-7000-8000-000000000000", 1000, strings.Repeat("x", 500)))
			require.NoError(b, err)
			for b.Loop() {
				if err := insert(db, put, string(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func insert(db *sqlite3.Conn, put *sqlite3.Stmt, body string) (err error) {
	tx, err := db.BeginImmediate()
	if err != nil {
		return err
	}
	defer tx.End(&err)
	if err := put.BindText(1, body); err != nil {
		return err
	}
	return put.Exec()
}

// BenchmarkState reads the newest state of short and long threads whose state is
// of one size.
func BenchmarkState(b *testing.B) {
	for _, steps := range []int{50, 950, 9950} {
		b.Run(fmt.Sprint(steps), func(b *testing.B) {
			c := open(b, sqlite.Options{Path: sqlite.Memory})
			lease, s := take(b, c, "t")
			for n := range steps {
				step := said(s.Line, n, strings.Repeat("x", 500))
				step.Messages[0].ID, step.Messages[0].Revision = "m", int64(n)
				step.Ops[0].ID, step.Ops[0].Rev = "m", int64(n)
				if n > 0 && n%agents.SnapshotEvery == 0 {
					step.Snapshot = &agents.Snapshot{Messages: []agents.Ref{{ID: "m", Rev: int64(n)}}, Values: map[string]json.RawMessage{"count": json.RawMessage(fmt.Sprint(n + 1))}}
				}
				require.NoError(b, c.Commit(b.Context(), lease, step))
			}
			for b.Loop() {
				if _, err := c.State(b.Context(), "t", ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
