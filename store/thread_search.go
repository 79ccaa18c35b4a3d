package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// threadMatches holds for the threads t that a search is about; it needs the named
// arguments of searchArgs.
const threadMatches = `(@status::text is null or t.status = @status::text) and (@metadata::jsonb is null or t.metadata @> @metadata::jsonb)`

// Threads are listed if they are the person's own or shared, also if they wait for
// a review where reviewers ask what waits, and named by their ids if they may be
// read: a statement for each, for one would use no index.
const (
	threadListed = `t.org_id = @org and (t.owner_id = @user or t.visibility = 'organisation') and not t.temporary and ` + threadMatches
	threadWaits  = `t.org_id = @org and (t.owner_id = @user or t.visibility = 'organisation'
			or t.id = any(array(select v.thread_id from reviews v where v.org_id = @org and v.status = 'open')))
		and not t.temporary and ` + threadMatches
	threadNamed = `t.id = any(@ids::uuid[]) and not t.temporary and ` + threadReadable + ` and ` + threadMatches
)

const sqlThreadCount = `select count(*)::int as n from threads t where ` + threadListed

const sqlThreadCountWaits = `select count(*)::int as n from threads t where ` + threadWaits

const sqlThreadCountNamed = `select count(*)::int as n from threads t where ` + threadNamed

// threadOrder is one of the orders of agents.ThreadSort. What is equal is ordered by
// id, which rises with the time of creation.
const threadOrder = ` order by case when @sort::text = 'status' and @ascending::bool then t.status end,
		case when @sort::text = 'status' and not @ascending::bool then t.status end desc,
		case when @sort::text = 'created_at' and @ascending::bool then t.created_at end,
		case when @sort::text = 'created_at' and not @ascending::bool then t.created_at end desc,
		case when @sort::text in ('', 'updated_at') and @ascending::bool then t.updated_at end,
		case when @sort::text in ('', 'updated_at') and not @ascending::bool then t.updated_at end desc,
		case when @ascending::bool then t.id end, case when not @ascending::bool then t.id end desc
	limit @limit offset @offset`

const sqlThreadSearch = `select ` + threadColumns + ` from threads t where ` + threadListed + threadOrder

const sqlThreadSearchWaits = `select ` + threadColumns + ` from threads t where ` + threadWaits + threadOrder

const sqlThreadSearchNamed = `select ` + threadColumns + ` from threads t where ` + threadNamed + threadOrder

// searchSQL gives the statements that list and count.
func searchSQL(scope auth.Scope, q agents.ThreadSearch) (list, count string) {
	if q.IDs != nil {
		return sqlThreadSearchNamed, sqlThreadCountNamed
	}
	if q.Status == agents.ThreadInterrupted && scope.Can(auth.PermReview) {
		return sqlThreadSearchWaits, sqlThreadCountWaits
	}
	return sqlThreadSearch, sqlThreadCount
}

func searchArgs(scope auth.Scope, q agents.ThreadSearch) named {
	args := readerArgs(scope, named{"ids": nil, "status": nil, "metadata": nil, "sort": string(q.Sort), "ascending": q.Ascending,
		"limit": q.Limit, "offset": q.Offset})
	if q.IDs != nil {
		ids := []string{}
		for _, t := range q.IDs {
			if id.Valid(string(t)) {
				ids = append(ids, string(t))
			}
		}
		args["ids"] = ids
	}
	if q.Status != "" {
		args["status"] = string(q.Status)
	}
	if q.Metadata != nil {
		args["metadata"] = string(q.Metadata)
	}
	return args
}

// SearchThreads lists threads with as much of their states as is asked for, and
// says how many match in all.
func (db *DB) SearchThreads(ctx context.Context, scope auth.Scope, q agents.ThreadSearch) ([]agents.FoundThread, int, error) {
	if err := q.Check(); err != nil {
		return nil, 0, err
	}
	if err := checkScope(scope); err != nil {
		return nil, 0, err
	}
	if len(q.Values) > 0 {
		return db.searchValues(ctx, scope, q)
	}
	args := searchArgs(scope, q)
	var counts []countRow
	var rows []threadRow
	var batch pgx.Batch
	list, count := searchSQL(scope, q)
	collect(&batch, &counts, count, args)
	collect(&batch, &rows, list, args)
	if err := db.batches(scope)(ctx, &batch); err != nil {
		return nil, 0, fmt.Errorf("searching threads: %w", translate(err))
	}
	loads, err := db.outlines(ctx, scope, rows, q.States)
	if err != nil {
		return nil, 0, err
	}
	out, err := db.found(ctx, scope, rows, loads, q.States)
	return out, counts[0].N, err
}

type countRow struct{ N int }

// CountThreads says how many threads match.
func (db *DB) CountThreads(ctx context.Context, scope auth.Scope, q agents.ThreadSearch) (int, error) {
	q.Limit, q.States = 1, agents.NoState
	if err := q.Check(); err != nil {
		return 0, err
	}
	if len(q.Values) > 0 {
		_, n, err := db.searchValues(ctx, scope, q)
		return n, err
	}
	_, count := searchSQL(scope, q)
	row, err := one[countRow](ctx, db, scope, "Thread", "counting threads", count, searchArgs(scope, q))
	return row.N, err
}

// searchValues looks into the states of the threads that match otherwise: values
// are stored as changes, which no index can be asked for.
func (db *DB) searchValues(ctx context.Context, scope auth.Scope, q agents.ThreadSearch) ([]agents.FoundThread, int, error) {
	all := q
	all.Limit, all.Offset = agents.MaxSearchedValues+1, 0
	list, _ := searchSQL(scope, q)
	rows, err := many[threadRow](ctx, db, scope, "searching threads", list, searchArgs(scope, all))
	if err != nil {
		return nil, 0, err
	}
	if len(rows) > agents.MaxSearchedValues {
		return nil, 0, fault.Invalid("values", fmt.Sprintf("would look into more than %d threads: narrow the search by metadata, status or ids", agents.MaxSearchedValues))
	}
	loads, err := db.outlines(ctx, scope, rows, agents.Outline)
	if err != nil {
		return nil, 0, err
	}
	var matching []threadRow
	var of []*stateLoad
	for i, l := range loads {
		if l.state.Head != nil && holdsValues(l.state, q) {
			matching, of = append(matching, rows[i]), append(of, l)
		}
	}
	from := min(q.Offset, len(matching))
	to := min(from+q.Limit, len(matching))
	out, err := db.found(ctx, scope, matching[from:to], of[from:to], q.States)
	return out, len(matching), err
}

func holdsValues(s agents.State, q agents.ThreadSearch) bool {
	for channel, want := range q.Values {
		if have, ok := s.Values[channel]; !ok || !agents.Contains(have, want) {
			return false
		}
	}
	return true
}

// outlines loads the heads of threads without their messages; nil loads where no
// state is asked for.
func (db *DB) outlines(ctx context.Context, scope auth.Scope, rows []threadRow, parts agents.StateParts) ([]*stateLoad, error) {
	loads := make([]*stateLoad, len(rows))
	if parts == agents.NoState || len(rows) == 0 {
		return loads, nil
	}
	for i, r := range rows {
		loads[i] = &stateLoad{org: string(scope.Org), thread: r.ID, line: r.LineID}
	}
	if err := foldAll(ctx, db.batches(scope), string(scope.Org), loads); err != nil {
		return nil, fmt.Errorf("reading the states of threads: %w", err)
	}
	return loads, nil
}

// found puts threads and what was loaded of their states together.
func (db *DB) found(ctx context.Context, scope auth.Scope, rows []threadRow, loads []*stateLoad, parts agents.StateParts) ([]agents.FoundThread, error) {
	if parts == agents.WholeState {
		err := wholeStates(ctx, db.batches(scope), string(scope.Org), loads)
		if errors.Is(err, errTooMuch) {
			return nil, fault.Invalid("limit", fmt.Sprintf("asks for the values of threads with more than %d messages in all: ask for fewer, or leave values out with select", agents.MaxListedMessages))
		}
		if err != nil {
			return nil, fmt.Errorf("reading the states of threads: %w", err)
		}
	}
	out := make([]agents.FoundThread, len(rows))
	for i, r := range rows {
		out[i].Thread = r.thread()
		if loads[i] != nil && parts != agents.NoState {
			out[i].State = loads[i].state
		}
	}
	return out, nil
}

func wholeStates(ctx context.Context, send sends, org string, loads []*stateLoad) error {
	n := 0
	for _, l := range loads {
		n += len(l.refs)
	}
	if n > agents.MaxListedMessages {
		return errTooMuch
	}
	return bodiesOfAll(ctx, send, org, loads)
}
