package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
)

// sqlAuditEnds reads as of one moment where the chain says that it ends, and
// where the entries do.
const sqlAuditEnds = `select coalesce((select seq from audit_heads where org_id = @org), 0) as seq,
	coalesce((select hash from audit_heads where org_id = @org), '\x') as hash,
	coalesce((select max(seq) from audit_log where org_id = @org), 0) as newest`

const sqlAuditChain = `select ` + auditColumns + ` from audit_log a
	where a.org_id = @org and a.seq > @after and a.seq <= @upto order by a.seq limit @limit`

type auditEndsRow struct {
	Seq    int64
	Hash   []byte
	Newest int64
}

// chainPage is how many entries are read in one go. They are looked at one by
// one as they come.
const chainPage = 1000

// chainReader reads one organisation's chain; a transaction is one.
type chainReader interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// inTurn runs one piece of reading; pieces may see different moments, which
// does no harm to what is only ever added to.
type inTurn func(read func(chainReader) error) error

// readChain follows a chain from its beginning to where it ended when reading
// began, or until it has taken so long (0 is no bound).
func readChain(ctx context.Context, org auth.OrgID, limit time.Duration, turn inTurn) (auth.ChainReport, error) {
	began := time.Now()
	var report auth.ChainReport
	var ends auditEndsRow
	err := turn(func(q chainReader) error {
		rows, _ := q.Query(ctx, sqlAuditEnds, named{"org": string(org)}) // its error comes back from CollectExactlyOneRow
		var err error
		ends, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[auditEndsRow])
		return err
	})
	if err != nil {
		return report, fmt.Errorf("reading the end of an audit log: %w", err)
	}
	report.Head = auth.AuditHead{Seq: ends.Seq, Hash: ends.Hash}
	for report.Broken == nil && report.Verified.Seq < ends.Newest {
		if limit > 0 && time.Since(began) > limit {
			return report, nil
		}
		before := report.Verified.Seq
		if err := turn(func(q chainReader) error { return readLinks(ctx, q, org, ends.Newest, &report) }); err != nil {
			return report, fmt.Errorf("reading an audit log after entry %d: %w", before, err)
		}
		if report.Verified.Seq == before {
			break
		}
	}
	report.End()
	return report, nil
}

func readLinks(ctx context.Context, q chainReader, org auth.OrgID, upto int64, report *auth.ChainReport) error {
	rows, err := q.Query(ctx, sqlAuditChain, named{"org": string(org), "after": report.Verified.Seq, "upto": upto, "limit": chainPage})
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		row, err := pgx.RowToStructByName[auditRow](rows)
		if err != nil {
			return err
		}
		if !report.Follow(row.entry()) {
			return nil
		}
	}
	return rows.Err()
}

// VerifyAudit reads the chain of the scope's organisation from its beginning;
// after limit it stops and says how far it came. It takes the permission to
// read the log.
func (db *DB) VerifyAudit(ctx context.Context, scope auth.Scope, limit time.Duration) (auth.ChainReport, error) {
	if err := scope.Require(auth.PermReadAudit); err != nil {
		return auth.ChainReport{}, err
	}
	return readChain(ctx, scope.Org, limit, func(read func(chainReader) error) error {
		return db.scoped(ctx, scope, func(tx pgx.Tx) error { return read(tx) })
	})
}
