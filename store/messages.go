package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
)

// messageForm is a message as it is written: what the columns say of it, its
// text, and the rest as JSON, which most messages have little of.
type messageForm struct {
	ID       agents.MessageID   `json:"id"`
	Revision int64              `json:"revision"`
	Role     agents.MessageRole `json:"role"`
	Text     string             `json:"text"`
	Author   *string            `json:"author,omitempty"`
	Rest     json.RawMessage    `json:"rest,omitempty"`
}

func messageForms(messages []agents.Message) ([]messageForm, error) {
	out := make([]messageForm, len(messages))
	for i, m := range messages {
		out[i] = messageForm{ID: m.ID, Revision: m.Revision, Role: m.Role, Text: m.Text}
		if id.Valid(m.Author) {
			author := m.Author
			out[i].Author, m.Author = &author, ""
		}
		m.ID, m.Revision, m.Role, m.Text, m.Run, m.CreatedAt = "", 0, "", "", "", time.Time{}
		rest, err := json.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("writing message %s as JSON: %w", out[i].ID, err)
		}
		if string(rest) != "{}" {
			out[i].Rest = rest
		}
	}
	return out, nil
}

// messageRow is a message as it is read. Body is that of rows that were written
// before text and rest had columns.
type messageRow struct {
	ID        string
	Revision  int64
	Role      string
	Text      pgtype.Text
	Author    pgtype.UUID
	Rest      pgtype.DriverBytes
	Body      pgtype.DriverBytes
	RunID     pgtype.UUID
	CreatedAt time.Time
}

const messageColumns = `m.id, m.revision, m.role, m.text, m.author_id, m.rest, m.body, m.run_id, m.created_at`

func (r *messageRow) columns() []any {
	return []any{&r.ID, &r.Revision, &r.Role, &r.Text, &r.Author, &r.Rest, &r.Body, &r.RunID, &r.CreatedAt}
}

// message reads the row; names keeps one copy of each of the few texts that many
// messages share.
func (r *messageRow) message(m *agents.Message, names map[[16]byte]string) error {
	raw := r.Rest
	if raw == nil {
		raw = r.Body
	}
	if raw != nil {
		if err := json.Unmarshal(raw, m); err != nil {
			return fmt.Errorf("reading the body of message %s: %w", r.ID, err)
		}
	}
	m.ID, m.Revision, m.Role, m.CreatedAt = agents.MessageID(r.ID), r.Revision, roleOf(r.Role), r.CreatedAt.UTC()
	if r.Text.Valid {
		m.Text = r.Text.String
	}
	if r.Author.Valid {
		m.Author = nameOf(names, r.Author)
	}
	if r.RunID.Valid && m.Run == "" {
		m.Run = agents.RunID(nameOf(names, r.RunID))
	}
	return nil
}

func nameOf(names map[[16]byte]string, u pgtype.UUID) string {
	name, ok := names[u.Bytes]
	if !ok {
		name = u.String()
		names[u.Bytes] = name
	}
	return name
}

// roleOf gives the one copy there is of a role's name.
func roleOf(s string) agents.MessageRole {
	for _, r := range []agents.MessageRole{agents.RoleUser, agents.RoleAssistant, agents.RoleTool, agents.RoleSystem} {
		if s == string(r) {
			return r
		}
	}
	return agents.MessageRole(s)
}

// sqlMessagesByRef reads revisions of messages; the caller puts them in order.
// The offset keeps the look-up one probe of the key for each reference: joined,
// every message of the thread is compared with every reference. The limit is
// no limit; a plan for any number of references estimates few rows by it, and is
// kept instead of made anew for each call.
const sqlMessagesByRef = `select ` + messageColumns + `
	from unnest(@ids::text[], @revs::bigint[]) as w(id, rev)
	cross join lateral (select * from messages
		where org_id = @org and thread_id = @thread and id = w.id and revision = w.rev offset 0) m
	limit @count`

// sqlMessagesOfThread reads whatever messages of a thread come first: cheaper
// than one probe each where most of them are wanted.
const sqlMessagesOfThread = `select ` + messageColumns + ` from messages m
	where m.org_id = @org and m.thread_id = @thread limit @limit`

// probed is how many messages are looked up one by one rather than read with
// their neighbours.
const probed = 100

// loadMessages gives the messages that references name, in their order; those
// known are not read.
func loadMessages(ctx context.Context, send sends, org, thread string, refs []agents.Ref, known map[agents.Ref]agents.Message) ([]agents.Message, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	l := messageLoad{out: make([]agents.Message, len(refs)), at: make(map[agents.Ref]int, len(refs)), names: map[[16]byte]string{}}
	again := map[int]int{} // what is named twice, and where first
	for i, r := range refs {
		m, ok := known[r]
		first, named := l.at[r]
		switch {
		case ok:
			l.out[i] = m
		case named:
			again[i] = first
		default:
			l.at[r] = i
		}
	}
	if len(l.at) > probed {
		args := pgx.NamedArgs{"org": org, "thread": thread, "limit": len(l.at) + len(l.at)/2}
		if err := l.read(ctx, send, sqlMessagesOfThread, args); err != nil {
			return nil, err
		}
	}
	if len(l.at) > 0 {
		ids, revs := make([]string, 0, len(l.at)), make([]int64, 0, len(l.at))
		for r := range l.at {
			ids, revs = append(ids, string(r.ID)), append(revs, r.Rev)
		}
		args := pgx.NamedArgs{"org": org, "thread": thread, "ids": ids, "revs": revs, "count": len(ids)}
		if err := l.read(ctx, send, sqlMessagesByRef, args); err != nil {
			return nil, err
		}
	}
	for i, first := range again {
		l.out[i] = l.out[first]
	}
	for r := range l.at {
		return nil, fmt.Errorf("loading a state: message %s revision %d is missing", r.ID, r.Rev)
	}
	return l.out, nil
}

// messageLoad puts messages where they belong; at holds those still to come.
type messageLoad struct {
	out   []agents.Message
	at    map[agents.Ref]int
	names map[[16]byte]string
}

func (l *messageLoad) read(ctx context.Context, send sends, sql string, args pgx.NamedArgs) error {
	var batch pgx.Batch
	batch.Queue(sql, args).Query(func(rows pgx.Rows) error {
		var r messageRow
		_, err := pgx.ForEachRow(rows, r.columns(), func() error {
			ref := agents.Ref{ID: agents.MessageID(r.ID), Rev: r.Revision}
			i, ok := l.at[ref]
			if !ok {
				return nil
			}
			delete(l.at, ref)
			return r.message(&l.out[i], l.names)
		})
		return err
	})
	if err := send(ctx, &batch); err != nil {
		return fmt.Errorf("reading messages: %w", translate(err))
	}
	return nil
}
