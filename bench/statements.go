//go:build linux

package main

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// With -statements the bench's private PostgreSQL counts what each statement of
// the product takes, in execution and in planning, while runs are measured
// (pg_stat_statements, which itself takes a little: these figures are for
// finding what to make cheaper, not for comparing runs of the bench). Measured
// is time inside PostgreSQL; not the parsing of messages, the commits' syncs and
// the way between the processes.

// statement is what one statement took in some runs. An inner one is what
// PostgreSQL issued by itself while it carried out another, such as the look-up of
// a foreign key: its time is part of the other's too.
type statement struct {
	text              string
	inner             bool
	calls, plans      int64
	execution, toPlan float64 // milliseconds
}

// superuserURL is the address of the bench's private server for its superuser,
// who alone may install an extension and reset its counters.
func (b *backing) superuserURL() (string, error) {
	u, err := url.Parse(b.postgres.URL())
	if err != nil {
		return "", fmt.Errorf("reading the database URL: %w", err)
	}
	u.User = url.User("postgres")
	return u.String(), nil
}

// asSuperuser runs fn on a connection of the superuser.
func (b *backing) asSuperuser(ctx context.Context, fn func(conn *pgx.Conn) error) (err error) {
	address, err := b.superuserURL()
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("connecting as the superuser: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing waits for it
	return fn(conn)
}

func (b *backing) watchStatements(ctx context.Context) error {
	return b.asSuperuser(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, `create extension if not exists pg_stat_statements schema public`); err != nil {
			return fmt.Errorf("counting statements: %w", err)
		}
		return nil
	})
}

func (b *backing) forgetStatements(ctx context.Context) error {
	return b.asSuperuser(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, `select pg_stat_statements_reset()`); err != nil {
			return fmt.Errorf("counting statements anew: %w", err)
		}
		return nil
	})
}

// sqlStatements reads what the product's roles did. What is done inside a foreign
// key's check runs as the owner of the table.
const sqlStatements = `select s.queryid, s.query, not s.toplevel, s.calls, s.plans, s.total_exec_time, s.total_plan_time
	from pg_stat_statements s join pg_roles r on r.oid = s.userid
	where r.rolname in ('heddle_app', 'heddle_system') or not s.toplevel`

// addStatements adds what was counted since the last reset.
func (b *backing) addStatements(ctx context.Context, into map[string]*statement) error {
	return b.asSuperuser(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sqlStatements)
		if err != nil {
			return fmt.Errorf("reading what statements took: %w", err)
		}
		var s statement
		var query int64
		_, err = pgx.ForEachRow(rows, []any{&query, &s.text, &s.inner, &s.calls, &s.plans, &s.execution, &s.toPlan}, func() error {
			key := fmt.Sprint(s.inner, query)
			sum, ok := into[key]
			if !ok {
				sum = &statement{text: s.text, inner: s.inner}
				into[key] = sum
			}
			sum.calls, sum.plans = sum.calls+s.calls, sum.plans+s.plans
			sum.execution, sum.toPlan = sum.execution+s.execution, sum.toPlan+s.toPlan
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading what statements took: %w", err)
		}
		return nil
	})
}

// The least that a statement must take of a run to be listed, in milliseconds,
// and how much of its beginning and its end is shown.
const (
	shownFrom = 0.004
	shownHead = 70
	shownTail = 90
)

var spaces = regexp.MustCompile(`\s+`)

func printStatements(title string, all map[string]*statement, runs int) {
	list := make([]*statement, 0, len(all))
	var sum statement
	for _, s := range all {
		list = append(list, s)
		if !s.inner {
			sum.calls, sum.plans = sum.calls+s.calls, sum.plans+s.plans
			sum.execution, sum.toPlan = sum.execution+s.execution, sum.toPlan+s.toPlan
		}
	}
	slices.SortFunc(list, func(a, b *statement) int {
		if a.inner != b.inner {
			if a.inner {
				return 1
			}
			return -1
		}
		return int((b.execution + b.toPlan - a.execution - a.toPlan) * 1000)
	})
	n := float64(max(runs, 1))
	fmt.Printf("\n| %s: statement | calls/run | ms/run | of it planning | plans/call |\n|---|---|---|---|---|\n", title)
	row := func(name string, s *statement) {
		time := s.execution + s.toPlan
		fmt.Printf("| %s | %.2f | %.3f | %.0f %% | %.2f |\n", name, float64(s.calls)/n, time/n, 100*s.toPlan/max(time, 1e-9), float64(s.plans)/float64(max(s.calls, 1)))
	}
	row("all", &sum)
	for _, s := range list {
		if (s.execution+s.toPlan)/n < shownFrom {
			continue
		}
		text := strings.ReplaceAll(spaces.ReplaceAllString(s.text, " "), "|", "\\|")
		if len(text) > shownHead+shownTail {
			text = text[:shownHead] + " … " + text[len(text)-shownTail:]
		}
		if s.inner {
			text = "within another: " + text
		}
		row("`"+text+"`", s)
	}
}
