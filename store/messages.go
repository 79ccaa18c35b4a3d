package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

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

// messageColumns are those of readMessage. Body is that of rows that were written
// before text and rest had columns.
const messageColumns = `m.id, m.revision, m.role, m.text, m.author_id, m.rest, m.body, m.run_id, m.created_at`

// readMessage reads what follows a message's id and revision in its row.
func readMessage(w *wire, m *agents.Message, ref agents.Ref, known names) error {
	role, text := roleOf(w.next(0)), w.next(0)
	author, written := w.uuid()
	rest, body := w.next(0), w.next(0)
	run, made := w.uuid()
	if rest == nil {
		rest = body
	}
	if rest != nil {
		if err := json.Unmarshal(rest, m); err != nil {
			return fmt.Errorf("reading the body of message %s: %w", ref.ID, err)
		}
	}
	m.ID, m.Revision, m.Role, m.CreatedAt = ref.ID, ref.Rev, role, w.time()
	if text != nil {
		m.Text = string(text)
	}
	if written {
		m.Author = known.of(author)
	}
	if made && m.Run == "" {
		m.Run = agents.RunID(known.of(run))
	}
	return nil
}

// roleOf gives the one copy there is of a role's name.
func roleOf(s []byte) agents.MessageRole {
	for _, r := range [...]agents.MessageRole{agents.RoleUser, agents.RoleAssistant, agents.RoleTool, agents.RoleSystem} {
		if string(s) == string(r) {
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

// errMissing is a part of a state that is not stored, or not any more.
var errMissing = errors.New("missing")

// loadMessages gives the messages that references name, in their order; those
// known are not read.
func loadMessages(ctx context.Context, send sends, org, thread string, refs []agents.Ref, known map[agents.Ref]agents.Message) ([]agents.Message, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	l := messageLoad{refs: refs, out: make([]agents.Message, len(refs)), names: names{}}
	if len(refs)-len(known) > probed {
		args := named{"org": org, "thread": thread, "limit": len(refs) + len(refs)/2}
		if err := l.read(ctx, send, sqlMessagesOfThread, args); err != nil {
			return nil, err
		}
		if l.next == len(refs) {
			return l.out, nil // they came in their order
		}
	}
	l.index()
	again := map[int]int{} // what is named twice, and where first
	for i, r := range refs {
		if m, ok := known[r]; ok {
			l.out[i] = m
			delete(l.at, r)
		} else if first, named := l.first[r]; named && first != i {
			again[i] = first
		}
	}
	if len(l.at) > 0 {
		ids, revs := make([]string, 0, len(l.at)), make([]int64, 0, len(l.at))
		for r := range l.at {
			ids, revs = append(ids, string(r.ID)), append(revs, r.Rev)
		}
		args := named{"org": org, "thread": thread, "ids": ids, "revs": revs, "count": len(ids)}
		if err := l.read(ctx, send, sqlMessagesByRef, args); err != nil {
			return nil, err
		}
	}
	for i, first := range again {
		l.out[i] = l.out[first]
	}
	for r := range l.at {
		return nil, fmt.Errorf("loading a state: message %s revision %d is %w", r.ID, r.Rev, errMissing)
	}
	return l.out, nil
}

// messageLoad puts messages where they belong. They usually come in the order of
// the references: next counts those that did. Once one doesn't, at holds those
// that are still to come, and first where each is named first.
type messageLoad struct {
	refs      []agents.Ref
	out       []agents.Message
	next      int
	at, first map[agents.Ref]int
	names     names
}

func (l *messageLoad) index() {
	if l.at != nil {
		return
	}
	l.at, l.first = make(map[agents.Ref]int, len(l.refs)-l.next), make(map[agents.Ref]int, len(l.refs))
	for i, r := range l.refs {
		if _, named := l.first[r]; named {
			continue
		}
		l.first[r] = i
		if i >= l.next {
			l.at[r] = i
		}
	}
}

// place gives where a message belongs.
func (l *messageLoad) place(id []byte, revision int64) (int, bool) {
	if l.at == nil && l.next < len(l.refs) && l.refs[l.next].Rev == revision && string(l.refs[l.next].ID) == string(id) {
		l.next++
		return l.next - 1, true
	}
	l.index()
	r := agents.Ref{ID: agents.MessageID(id), Rev: revision}
	i, ok := l.at[r]
	delete(l.at, r)
	return i, ok
}

func (l *messageLoad) read(ctx context.Context, send sends, sql string, args named) error {
	var batch pgx.Batch
	batch.Queue(sql, args).Query(func(rows pgx.Rows) error {
		return eachRow(rows, func(w *wire) error {
			id, revision := w.next(0), w.int8()
			i, ok := l.place(id, revision)
			if !ok {
				return nil
			}
			return readMessage(w, &l.out[i], l.refs[i], l.names)
		})
	})
	if err := send(ctx, &batch); err != nil {
		return fmt.Errorf("reading messages: %w", translate(err))
	}
	return nil
}
