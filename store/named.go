package store

import (
	"context"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
)

// named are a statement's arguments by their names in it, as those of
// [pgx.NamedArgs]; one that is absent is null. pgx takes the text of a statement
// apart for each call, which for long ones costs more than sending them: here it is
// done once on each connection.
type named map[string]any

// positional is a statement with numbers for names, and the names in their order.
type positional struct {
	sql   string
	names []string
}

// maxPositional bounds what a connection remembers; pgx remembers as many prepared
// statements by itself.
const maxPositional = 512

// knownStatements is where a connection keeps what it remembers.
const knownStatements = "heddle.statements"

// argumentName may match more than the names of arguments: what stands in a string.
var argumentName = regexp.MustCompile(`@([A-Za-z_][A-Za-z0-9_]*)`)

// RewriteQuery implements [pgx.QueryRewriter].
func (n named) RewriteQuery(ctx context.Context, conn *pgx.Conn, sql string, _ []any) (string, []any, error) {
	data := conn.PgConn().CustomData() // one goroutine uses a connection at a time
	known, _ := data[knownStatements].(map[string]positional)
	p, ok := known[sql]
	if !ok {
		var err error
		if p, err = takeApart(ctx, conn, sql); err != nil {
			return "", nil, err
		}
		if known == nil {
			known = map[string]positional{}
			data[knownStatements] = known
		}
		if len(known) < maxPositional {
			known[sql] = p
		}
	}
	values := make([]any, len(p.names))
	for i, name := range p.names {
		values[i] = n[name]
	}
	return p.sql, values, nil
}

// takeApart lets pgx put numbers in place of names, with each name as its own value.
func takeApart(ctx context.Context, conn *pgx.Conn, sql string) (positional, error) {
	self := pgx.NamedArgs{}
	for _, m := range argumentName.FindAllStringSubmatch(sql, -1) {
		self[m[1]] = m[1]
	}
	out, values, err := self.RewriteQuery(ctx, conn, sql, nil)
	if err != nil {
		return positional{}, fmt.Errorf("reading the arguments of a statement: %w", err)
	}
	p := positional{sql: out, names: make([]string, len(values))}
	for i, v := range values {
		p.names[i], _ = v.(string)
	}
	return p, nil
}
