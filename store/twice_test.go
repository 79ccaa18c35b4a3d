package store_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// What is written together is written by statements of its own (sqlTogether,
// sqlPlaceTogether). These tests do each thing once that way and once step by step,
// in two databases that are otherwise alike, and compare all that is stored. What
// differs by nature is compared by what it stands for:
var (
	// ids are compared by whom they name, or whether there is one.
	twiceIDs = []string{
		"checkpoints.line_id", "checkpoints.org_id", "checkpoints.run_id", "events.org_id", "events.run_id", "events.thread_id", "lines.id",
		"lines.org_id", "lines.parent_line", "lines.thread_id", "messages.author_id", "messages.org_id", "messages.run_id", "messages.thread_id",
		"runs.assistant_id", "runs.base_line", "runs.id", "runs.key_id", "runs.org_id", "runs.thread_id", "runs.user_id", "thread_heads.epoch",
		"thread_heads.org_id", "thread_heads.run_id", "thread_heads.thread_id", "thread_heads.worker_id", "threads.assistant_id", "threads.id",
		"threads.line_id", "threads.org_id", "threads.owner_id",
	}
	// times are compared by whether they are of before, of this write, or of later.
	twiceTimes = []string{
		"checkpoints.created_at", "events.created_at", "lines.abandoned_at", "lines.created_at", "messages.created_at", "runs.cancel_requested_at",
		"runs.claimed_at", "runs.created_at", "runs.ended_at", "runs.run_after", "runs.started_at", "runs.updated_at", "thread_heads.lease_until",
		"threads.created_at", "threads.updated_at",
	}
	// packs hold times and ids; what they say is compared as the log gives it.
	twiceOther = []string{"events.pack", "runs.position", "runs.token", "thread_heads.token"}
)

// side is one of the two databases. What is compared is written by the writer.
type side struct {
	*bundle
	writer *store.DB
	thread agents.ThreadID
	line   agents.LineID
	lease  agents.Lease
	worker agents.WorkerID
	run    agents.RunID
	key    auth.KeyID
	sql    *pgx.Conn
}

func newSide(t *testing.T) *side {
	t.Helper()
	b := setup(t)
	return &side{bundle: b, writer: open(t, b.url), sql: b.inOrg(t, b.mia)}
}

// prepared is a thread on which a run executes.
func (s *side) prepared(t *testing.T) {
	t.Helper()
	made := s.bundle.thread(t, s.mia, agents.VisibilityPrivate)
	s.thread, s.line = made.ID, made.Line
	s.lease, s.worker = s.start(t, s.mia, s.thread)
	s.run = s.lease.Run
}

func (s *side) commit(t *testing.T, step agents.Step, finish *agents.Finish) {
	t.Helper()
	_, _, err := s.writer.CommitStep(t.Context(), s.mia, s.lease, step, finish)
	require.NoError(t, err)
}

// full is a step with all that a step may have and be written together.
func (s *side) full(step int) agents.Step {
	out := text(s.line, step, "said", envelope(s.thread, "said"), envelope(s.thread, "more"))
	out.Messages[0].Author, out.Messages[0].Revision = string(s.mia.User), 2
	out.Messages = append(out.Messages, agents.Message{ID: "called", Role: agents.RoleAssistant, ToolCalls: []agents.ToolCall{{ID: "c", Name: "add", Args: json.RawMessage(`{"a":1}`)}}})
	out.Deltas = map[string][]agents.Delta{"plan": {{Op: agents.DeltaSet, Value: json.RawMessage(`["a"]`)}}}
	out.Snapshot = &agents.Snapshot{Messages: []agents.Ref{{ID: "said"}}, Values: map[string]json.RawMessage{"plan": json.RawMessage(`["a"]`)}}
	out.Next = []agents.Due{{Node: "tools", Input: json.RawMessage(`{"x":1}`)}, {Node: "agent"}}
	out.Wrote = []agents.Wrote{{Node: "agent", Ops: 1}, {Node: "other", Deltas: map[string]int{"plan": 1}}}
	out.Interrupts = []agents.Interrupt{{ID: "i", Node: "tools", Kind: agents.Question, Value: json.RawMessage(`"why"`)}}
	out.Metadata = json.RawMessage(`{"a":{"b":1}}`)
	return out
}

// given is a submission whose ids are the same on both sides, as far as they may be.
func (s *side) given() agents.Submission {
	out := s.submission(s.thread)
	s.run = out.Run
	out.Input.Messages[0].ID = "asked"
	out.Input.Context = map[string]json.RawMessage{"tone": json.RawMessage(`"dry"`)}
	return out
}

func (s *side) submitted(t *testing.T, scope auth.Scope, what agents.Submission) {
	t.Helper()
	_, err := s.writer.Submit(t.Context(), scope, what)
	require.NoError(t, err)
}

func (s *side) idle(t *testing.T) {
	t.Helper()
	made := s.bundle.thread(t, s.mia, agents.VisibilityPrivate)
	s.thread, s.line = made.ID, made.Line
}

func TestWhatIsSaidTwiceStoresTheSame(t *testing.T) {
	apart, together := newSide(t), newSide(t)
	apart.writer.Apart()
	together.writer.Together()
	failure := &agents.RunError{Code: "node_failed", Message: "boom", Node: "agent"}
	for _, c := range []struct {
		name string
		// before makes what the write meets, write is the write.
		before func(*side, *testing.T)
		write  func(*side, *testing.T)
		// tables are those it must have touched.
		tables string
	}{
		{"a step", (*side).prepared, func(s *side, t *testing.T) { s.commit(t, text(s.line, 0, "said", envelope(s.thread, "said")), nil) },
			"checkpoints events lines messages thread_heads"},
		{"a step with everything", (*side).prepared, func(s *side, t *testing.T) { s.commit(t, s.full(0), nil) },
			"checkpoints events lines messages thread_heads"},
		{"a step that says nothing", (*side).prepared, func(s *side, t *testing.T) {
			s.commit(t, agents.Step{Line: s.line, Source: agents.SourceInput, Next: []agents.Due{{Node: "agent"}}}, nil)
		}, "checkpoints lines"},
		{"a step and a success", (*side).prepared, func(s *side, t *testing.T) { s.commit(t, s.full(0), &agents.Finish{Status: agents.RunSuccess}) },
			"checkpoints events lines messages runs thread_heads threads"},
		{"a step and a failure", (*side).prepared, func(s *side, t *testing.T) {
			s.commit(t, s.full(0), &agents.Finish{Status: agents.RunFailed, Error: failure})
		}, "checkpoints events lines messages runs thread_heads threads"},
		{"a step and a wait", (*side).prepared, func(s *side, t *testing.T) { s.commit(t, s.full(0), &agents.Finish{Status: agents.RunWaiting}) },
			"checkpoints events lines messages runs thread_heads threads"},
		{"a step whose messages are there", func(s *side, t *testing.T) {
			s.prepared(t)
			s.commit(t, s.full(0), nil)
		}, func(s *side, t *testing.T) {
			again := s.full(1)
			again.Messages[0].Text = "another text of the same revision"
			s.commit(t, again, nil)
		}, "checkpoints events lines thread_heads"},
		{"a step with a manifest", (*side).prepared, func(s *side, t *testing.T) {
			step := s.full(0)
			step.Manifest = &agents.Manifest{App: "test", Graph: "chat", GraphHash: "g", ConfigHash: "c"}
			s.commit(t, step, nil)
		}, "checkpoints events lines messages runs thread_heads"},
		{"a step with a manifest and a success", (*side).prepared, func(s *side, t *testing.T) {
			step := s.full(0)
			step.Manifest = &agents.Manifest{App: "test", Graph: "chat", GraphHash: "g", ConfigHash: "c"}
			s.commit(t, step, &agents.Finish{Status: agents.RunSuccess})
		}, "checkpoints events lines messages runs thread_heads threads"},
		{"a step after failures", (*side).failed, func(s *side, t *testing.T) { s.commit(t, s.full(0), nil) },
			"checkpoints events lines messages runs thread_heads"},
		{"a step after failures and a success", (*side).failed, func(s *side, t *testing.T) { s.commit(t, s.full(0), &agents.Finish{Status: agents.RunSuccess}) },
			"checkpoints events lines messages runs thread_heads threads"},
		{"a step and an end with another in line", (*side).followed, func(s *side, t *testing.T) { s.commit(t, s.full(0), &agents.Finish{Status: agents.RunSuccess}) },
			"checkpoints events lines messages runs thread_heads threads"},
		{"a wait with another in line", (*side).followed, func(s *side, t *testing.T) { s.commit(t, s.full(0), &agents.Finish{Status: agents.RunWaiting}) },
			"checkpoints events lines messages runs thread_heads threads"},
		{"a success", (*side).prepared, func(s *side, t *testing.T) { s.end(t, agents.RunSuccess, nil) }, "events runs thread_heads threads"},
		{"a failure", (*side).prepared, func(s *side, t *testing.T) { s.end(t, agents.RunFailed, failure) }, "events runs thread_heads threads"},
		{"a time limit", (*side).prepared, func(s *side, t *testing.T) { s.end(t, agents.RunTimeout, failure) }, "events runs thread_heads threads"},
		{"a cancellation", (*side).prepared, func(s *side, t *testing.T) { s.end(t, agents.RunCancelled, nil) }, "events runs thread_heads threads"},
		{"a wait", (*side).prepared, func(s *side, t *testing.T) { s.end(t, agents.RunWaiting, nil) }, "events runs thread_heads threads"},
		{"an end after failures", (*side).failed, func(s *side, t *testing.T) { s.end(t, agents.RunFailed, failure) }, "events runs thread_heads threads"},
		{"an end with another in line", (*side).followed, func(s *side, t *testing.T) { s.end(t, agents.RunSuccess, nil) }, "events runs thread_heads threads"},

		{"a run", (*side).idle, func(s *side, t *testing.T) { s.submitted(t, s.mia, s.given()) }, "events runs thread_heads threads"},
		{"a run with everything", func(s *side, t *testing.T) {
			made, err := s.db.CreateThread(t.Context(), s.mia, agents.NewThread{Visibility: agents.VisibilityPrivate, Metadata: json.RawMessage(`{"mine":1,"graph_id":"old"}`)})
			require.NoError(t, err)
			s.thread, s.line, s.key = made.ID, made.Line, auth.KeyID(id.New())
		}, func(s *side, t *testing.T) {
			what := s.given()
			what.Title, what.Strategy = "Hello", agents.StrategyRollback
			what.Request, what.Metadata = json.RawMessage(`{"b":[1,{"c":null}],"a":"x"}`), json.RawMessage(`{"z":true}`)
			what.Webhook, what.After = "https://hooks.example.com/a", time.Hour
			scope := s.mia
			scope.Key, scope.KeyScopes = s.key, []auth.KeyScope{auth.ScopeRun}
			s.submitted(t, scope, what)
		}, "events runs thread_heads threads"},
		{"a run with a temporary thread", func(*side, *testing.T) {}, func(s *side, t *testing.T) {
			s.thread = agents.ThreadID(id.New())
			what := s.given()
			what.Create = &agents.NewThread{ID: s.thread, Title: "For once", Visibility: agents.VisibilityPrivate, Temporary: true, Metadata: json.RawMessage(`{"a":1}`)}
			s.submitted(t, s.mia, what)
		}, "events lines runs thread_heads threads"},
		{"a run after another", func(s *side, t *testing.T) {
			s.prepared(t)
			s.commit(t, s.full(0), &agents.Finish{Status: agents.RunFailed, Error: failure})
		}, func(s *side, t *testing.T) { s.submitted(t, s.mia, s.given()) }, "events runs thread_heads threads"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got [2]map[string][]map[string]string
			for i, s := range []*side{apart, together} {
				c.before(s, t)
				before, at := s.rows(t), scan[time.Time](t, s.sql, `select clock_timestamp()`)
				c.write(s, t)
				after := s.rows(t)
				changed := map[string][]string{}
				for table, rows := range after {
					for row := range rows {
						if !before[table][row] {
							changed[table] = append(changed[table], row)
						}
					}
				}
				require.Equal(t, strings.Fields(c.tables), slices.Sorted(maps.Keys(changed)), "the tables that were changed")
				got[i] = s.readable(t, changed, at)
			}
			for table, rows := range got[0] {
				others := got[1][table]
				require.Len(t, others, len(rows), "%s has as many rows", table)
				for n, row := range rows {
					for column, value := range row {
						if others[n][column] != value {
							t.Errorf("%s.%s: step by step it is %s, together it is %s", table, column, value, others[n][column])
						}
					}
				}
			}
			require.Equal(t, apart.told(t), together.told(t), "the log")
		})
	}
}

// failed is prepared, with failures behind the run.
func (s *side) failed(t *testing.T) {
	t.Helper()
	s.prepared(t)
	_, err := s.sql.Exec(t.Context(), `update runs set failures = 2, lost = '[{"attempt":1}]' where id = $1`, string(s.run))
	require.NoError(t, err)
}

// followed is prepared, with another run in line.
func (s *side) followed(t *testing.T) {
	t.Helper()
	s.prepared(t)
	next := s.submission(s.thread)
	next.Input.Messages[0].ID = "asked next"
	_, err := s.db.Submit(t.Context(), s.mia, next)
	require.NoError(t, err)
}

func (s *side) end(t *testing.T, status agents.RunStatus, failure *agents.RunError) {
	t.Helper()
	_, err := s.writer.FinishRun(t.Context(), s.mia, s.lease, agents.Finish{Status: status, Error: failure, Events: []event.Envelope{envelope(s.thread, "over")}})
	require.NoError(t, err)
}

// rows gives every row of every table as JSON.
func (s *side) rows(t *testing.T) map[string]map[string]bool {
	t.Helper()
	out := map[string]map[string]bool{}
	for _, table := range tenantTables(t, s.sql) {
		out[table] = map[string]bool{}
		for _, row := range collect[string](t, s.sql, `select to_jsonb(t)::text from `+pgx.Identifier{table}.Sanitize()+` t`) {
			out[table][row] = true
		}
	}
	return out
}

// readable gives rows by column, with what differs by nature replaced.
func (s *side) readable(t *testing.T, tables map[string][]string, at time.Time) map[string][]map[string]string {
	t.Helper()
	known := []string{string(s.mia.Org), "acme", string(s.mia.User), "mia", string(s.assistant.ID), "assistant"}
	for word, name := range map[string]string{string(s.thread): "thread", string(s.line): "line", string(s.run): "run", string(s.worker): "worker",
		string(s.lease.Run): "executing", string(s.key): "key"} {
		if word != "" {
			known = append(known, word, name)
		}
	}
	names := strings.NewReplacer(known...)
	out := map[string][]map[string]string{}
	for table, rows := range tables {
		for _, row := range rows {
			var raw map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(row), &raw))
			columns := map[string]string{}
			for column, value := range raw {
				full := table + "." + column
				text := names.Replace(string(value))
				switch {
				case text == "null":
				case slices.Contains(twiceIDs, full) && text == string(value):
					text = "another"
				case slices.Contains(twiceTimes, full):
					text = when(t, value, at)
				case slices.Contains(twiceOther, full):
					text = "something"
				}
				columns[column] = text
			}
			out[table] = append(out[table], columns)
		}
		slices.SortFunc(out[table], func(a, b map[string]string) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return out
}

func when(t *testing.T, value json.RawMessage, at time.Time) string {
	t.Helper()
	var moment time.Time
	require.NoError(t, json.Unmarshal(value, &moment))
	switch {
	case moment.Before(at):
		return "before"
	case moment.Before(at.Add(10 * time.Second)):
		return "now"
	default:
		return "later"
	}
}

// told is what the thread's log says.
func (s *side) told(t *testing.T) []string {
	t.Helper()
	rows, head, err := s.db.Log(t.Context(), s.mia, s.thread, 0, 0)
	require.NoError(t, err)
	var out []string
	for _, r := range rows {
		e, err := event.Parse(r.Payload(head.Epoch))
		require.NoError(t, err)
		out = append(out, fmt.Sprintf("%d %s %s", e.Seq, e.Type, e.Data))
	}
	return out
}
