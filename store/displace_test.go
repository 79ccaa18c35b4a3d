package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// line is a thread with a finished run behind it, and names for its runs.
type line struct {
	*bundle
	thread agents.Thread
	names  map[agents.RunID]string
	// lease is the one under which the run "old" began.
	lease  agents.Lease
	review agents.ReviewID
}

func (b *bundle) inLine(t *testing.T) *line {
	t.Helper()
	l := &line{bundle: b, thread: b.thread(t, b.mia, agents.VisibilityPrivate), names: map[agents.RunID]string{}}
	past, _ := b.start(t, b.mia, l.thread.ID)
	_, _, err := b.db.CommitStep(t.Context(), b.mia, past, text(l.thread.Line, 0, "before"), &agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	return l
}

func (l *line) queue(t *testing.T, name string) {
	t.Helper()
	l.names[l.submit(t, l.mia, l.thread.ID).ID] = name
}

// begin starts the run "old" and lets it say something.
func (l *line) begin(t *testing.T) {
	t.Helper()
	l.lease, _ = l.start(t, l.mia, l.thread.ID)
	l.names[l.lease.Run] = "old"
	step := text(l.thread.Line, 1, "said")
	step.Next = agents.DueNodes("agent")
	_, _, err := l.db.CommitStep(t.Context(), l.mia, l.lease, step, nil)
	require.NoError(t, err)
}

// pause lets the run "old" ask for a review.
func (l *line) pause(t *testing.T) {
	t.Helper()
	l.begin(t)
	now := time.Now()
	r := agents.Review{ID: agents.ReviewID(id.New()), Interrupt: id.New(), CallID: "call", Requester: l.mia.User, Assistant: l.assistant.ID,
		AssistantVersion: 1, Tool: "send", Args: json.RawMessage(`{"to":"bob@example.com"}`), Allowed: agents.Decisions(), Rule: "default",
		Effect: "outbound", CreatedAt: now, DueAt: now.Add(time.Hour)}
	step := text(l.thread.Line, 2, "asks")
	step.Next, step.Interrupts = agents.DueNodes("tools"), []agents.Interrupt{{ID: r.Interrupt, Node: "tools", Kind: agents.ReviewAsked, Value: json.RawMessage(`{}`)}}
	step.Reviews = []agents.Review{r}
	_, _, err := l.db.CommitStep(t.Context(), l.mia, l.lease, step, &agents.Finish{Status: agents.RunWaiting})
	require.NoError(t, err)
	l.review = r.ID
}

// picture shows the runs that are open, or that had begun, in their order; one
// that must stop has an exclamation mark.
func (l *line) picture(t *testing.T) string {
	t.Helper()
	conn := l.inOrg(t, l.mia)
	var out []string
	for _, row := range collect[string](t, conn, `select concat_ws(' ', id, status, case when cancel_requested_at is not null and status in ('pending', 'running') then '!' end)
		from runs where thread_id = $1 order by position`, string(l.thread.ID)) {
		run, status, _ := strings.Cut(row, " ")
		if name := l.names[agents.RunID(run)]; name != "" {
			out = append(out, name+" "+strings.ReplaceAll(status, " !", "!"))
		}
	}
	return strings.Join(out, ", ")
}

// TestWhatNewInputDoesToABusyThread is the table of double texting: every state
// of a thread, every strategy, from people and from machines.
func TestWhatNewInputDoesToABusyThread(t *testing.T) {
	b := setup(t)
	states := map[string]func(t *testing.T, l *line){
		"idle":    func(*testing.T, *line) {},
		"queued":  func(t *testing.T, l *line) { l.queue(t, "next") },
		"running": func(t *testing.T, l *line) { l.begin(t); l.queue(t, "next") },
		"handed back": func(t *testing.T, l *line) {
			l.begin(t)
			require.NoError(t, l.db.HandBack(t.Context(), l.mia.Org, l.lease))
			l.queue(t, "next")
		},
		"waiting": func(t *testing.T, l *line) { l.pause(t); l.queue(t, "next") },
		"decided": func(t *testing.T, l *line) {
			l.pause(t)
			l.queue(t, "next")
			done, err := l.db.Decide(t.Context(), l.ada, []agents.Decision{{Review: l.review, Kind: agents.Approve}}, withdrawn)
			require.NoError(t, err)
			l.names[done.Resumed] = "resumed"
		},
	}
	const (
		enqueue, reject, interrupt, rollback = agents.StrategyEnqueue, agents.StrategyReject, agents.StrategyInterrupt, agents.StrategyRollback
	)
	type expected map[agents.Strategy]string
	for state, c := range map[string]struct{ person, machine expected }{
		"idle": {person: expected{enqueue: "new pending", reject: "new pending", interrupt: "new pending", rollback: "new pending"}},
		"queued": {person: expected{enqueue: "next pending, new pending", reject: "", interrupt: "new pending, next pending",
			rollback: "new pending, next pending"}},
		"running": {person: expected{enqueue: "old running, next pending, new pending", reject: "",
			interrupt: "old running!, new pending, next pending", rollback: "new pending, next pending"}},
		"handed back": {person: expected{enqueue: "old pending, next pending, new pending", reject: "",
			interrupt: "old pending!, new pending, next pending", rollback: "new pending, next pending"}},
		"waiting": {
			person: expected{enqueue: "old waiting, next pending, new pending", reject: "review",
				interrupt: "old cancelled, new pending, next pending", rollback: "new pending, next pending"},
			machine: expected{enqueue: "old cancelled, next pending, new pending", reject: "review",
				interrupt: "old cancelled, new pending, next pending", rollback: "new pending, next pending"},
		},
		"decided": {person: expected{enqueue: "old success, resumed pending, next pending, new pending", reject: "",
			interrupt: "old success, resumed pending!, new pending, next pending", rollback: "old success, new pending, next pending"}},
	} {
		if c.machine == nil {
			c.machine = c.person
		}
		for origin, table := range map[string]expected{"person": c.person, "machine": c.machine} {
			for strategy, want := range table {
				t.Run(fmt.Sprintf("%s/%s/%s", state, origin, strategy), func(t *testing.T) {
					l := b.inLine(t)
					states[state](t, l)
					before := l.picture(t)
					s := l.submission(l.thread.ID)
					s.Strategy, s.Supersede = strategy, origin == "machine"
					l.names[s.Run] = "new"
					_, err := l.db.Submit(t.Context(), l.mia, s)
					if !strings.Contains(want, "new") {
						require.Equal(t, "thread_busy", fault.Code(err))
						require.Equal(t, want == "review", strings.Contains(fault.Public(err), string(l.review)) && l.review != "")
						require.Equal(t, before, l.picture(t), "a refusal changes nothing")
						return
					}
					require.NoError(t, err)
					require.Equal(t, want, l.picture(t))
					l.runsOut(t, want)
				})
			}
		}
	}
}

// runsOut executes what is in line, as workers do, and checks its order and that
// the log stayed dense; a run that lost its thread can write nothing.
func (l *line) runsOut(t *testing.T, want string) {
	t.Helper()
	if l.lease.Run != "" && !strings.Contains(want, "old running") {
		_, _, err := l.db.CommitStep(t.Context(), l.mia, l.lease, text(l.thread.Line, 9, "late"), nil)
		require.ErrorIs(t, err, agents.ErrFenced)
	}
	if strings.Contains(want, "old waiting") {
		return
	}
	var order []string
	for _, run := range strings.Split(want, ", ") {
		if name, status, _ := strings.Cut(run, " "); strings.HasPrefix(status, "running") || strings.HasPrefix(status, "pending") {
			order = append(order, name)
		}
	}
	if strings.HasPrefix(want, "old running") {
		_, err := l.db.FinishRun(t.Context(), l.mia, l.lease, agents.Finish{Status: agents.RunCancelled})
		require.NoError(t, err)
		order = order[1:]
	}
	for _, name := range order {
		claimed, err := l.db.Claim(t.Context(), agents.WorkerID(id.New()), 1, time.Minute)
		require.NoError(t, err)
		require.Len(t, claimed, 1)
		r := claimed[0].Run
		require.Equal(t, name, l.names[r.ID])
		_, err = l.db.FinishRun(t.Context(), l.mia, agents.Lease{Thread: r.Thread, Run: r.ID, Token: r.Token}, agents.Finish{Status: agents.RunSuccess})
		require.NoError(t, err)
	}
	conn := l.inOrg(t, l.mia)
	require.Equal(t, scan[int64](t, conn, "select seq from thread_heads where thread_id = $1", string(l.thread.ID)),
		scan[int64](t, conn, "select sum(seq - from_seq + 1)::bigint from events where thread_id = $1", string(l.thread.ID)))
}

// TestRollbackLeavesTheThreadAsBefore: state, history, messages and the run's row.
func TestRollbackLeavesTheThreadAsBefore(t *testing.T) {
	b := setup(t)
	for name, begin := range map[string]func(*line, *testing.T){"running": (*line).begin, "waiting": (*line).pause} {
		t.Run(name, func(t *testing.T) {
			l := b.inLine(t)
			was := l.reads(t)
			begin(l, t)
			for round := range 3 { // the second time the run to take back is the new one
				s := l.submission(l.thread.ID)
				s.Strategy = agents.StrategyRollback
				out, err := l.db.Submit(t.Context(), l.mia, s)
				require.NoError(t, err)
				require.Equal(t, []agents.RunID{l.lease.Run}, out.Stop)
				require.Equal(t, was, l.reads(t), "round %d", round)
				_, err = l.db.Run(t.Context(), l.mia, l.thread.ID, l.lease.Run)
				require.True(t, fault.Is(err, fault.KindNotFound))
				if l.review != "" {
					r, err := l.db.Review(t.Context(), l.mia, l.review)
					require.NoError(t, err)
					require.Equal(t, agents.ReviewWithdrawn, r.Status)
				}
				claimed, err := l.db.Claim(t.Context(), agents.WorkerID(id.New()), 1, time.Minute)
				require.NoError(t, err)
				require.Len(t, claimed, 1)
				l.lease = agents.Lease{Thread: l.thread.ID, Run: s.Run, Token: claimed[0].Run.Token}
				state, err := l.db.State(t.Context(), l.mia, l.thread.ID)
				require.NoError(t, err)
				step := text(state.Line, state.Step+1, "said") // the same id, another text
				step.Messages[0].Text = fmt.Sprint("anew ", round)
				_, _, err = l.db.CommitStep(t.Context(), l.mia, l.lease, step, nil)
				require.NoError(t, err)
				state, err = l.db.State(t.Context(), l.mia, l.thread.ID)
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint("anew ", round), state.Messages[len(state.Messages)-1].Text)
			}
			conn := l.inOrg(t, l.mia)
			require.LessOrEqual(t, scan[int](t, conn, "select count(*) from lines where thread_id = $1", string(l.thread.ID)), 2, "lines don't pile up")
		})
	}
}

// reads gives what a reader of the thread sees of its past.
func (l *line) reads(t *testing.T) (out []string) {
	t.Helper()
	all, err := l.db.History(t.Context(), l.mia, l.thread.ID, agents.HistoryQuery{Limit: agents.MaxHistory})
	require.NoError(t, err)
	state, err := l.db.State(t.Context(), l.mia, l.thread.ID)
	require.NoError(t, err)
	for _, s := range append(all, state) {
		out = append(out, fmt.Sprint(s.Step, " ", s.Head.ID, " ", agents.Nodes(s.Head.Next)))
		for _, m := range s.Messages {
			out = append(out, string(m.ID)+": "+m.Text)
		}
	}
	return out
}

// TestAForkKeepsTheStepsThatARollbackLeaves: they are its own.
func TestAForkKeepsTheStepsThatARollbackLeaves(t *testing.T) {
	b := setup(t)
	l := b.inLine(t)
	l.begin(t)
	conn := l.inOrg(t, l.mia)
	_, err := conn.Exec(t.Context(), `insert into lines (org_id, id, thread_id, parent_line, parent_step, step) values ($1, $2, $3, $4, 1, 1)`,
		string(l.mia.Org), id.New(), string(l.thread.ID), string(l.thread.Line))
	require.NoError(t, err)
	s := l.submission(l.thread.ID)
	s.Strategy = agents.StrategyRollback
	_, err = l.db.Submit(t.Context(), l.mia, s)
	require.NoError(t, err)
	state, err := l.db.State(t.Context(), l.mia, l.thread.ID)
	require.NoError(t, err)
	require.Len(t, state.Messages, 1)
	old, err := l.db.StateAt(t.Context(), l.mia, l.thread.ID, agents.CheckpointID(l.thread.Line, 1))
	require.NoError(t, err)
	require.Len(t, old.Messages, 2)
}

// TestAThreadsFirstRunIsRolledBackToNothing: there is no step to stand on.
func TestAThreadsFirstRunIsRolledBackToNothing(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "said"), nil)
	require.NoError(t, err)
	s := b.submission(thread.ID)
	s.Strategy = agents.StrategyRollback
	_, err = b.db.Submit(t.Context(), b.mia, s)
	require.NoError(t, err)
	state, err := b.db.State(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, -1, state.Step)
	require.Empty(t, state.Messages)
	require.Nil(t, state.Head)
	_, err = b.db.Submit(t.Context(), auth.Scope{User: b.gia.User, Org: b.gia.Org, Role: b.gia.Role}, s)
	require.True(t, fault.Is(err, fault.KindNotFound))
}

// TestOnlyWhoWroteAQueuedMessageChangesIt, and only while it stands in line.
func TestOnlyWhoWroteAQueuedMessageChangesIt(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityOrganisation)
	r := b.submit(t, b.mia, thread.ID)
	edit := func(scope auth.Scope) error {
		_, err := b.db.EditQueued(t.Context(), scope, thread.ID, r.ID, func(in agents.RunInput) (agents.RunInput, error) {
			in.Messages[0].Text = "changed"
			return in, nil
		}, cancelled)
		return err
	}
	require.Equal(t, "not_author", fault.Code(edit(b.max)))
	require.NoError(t, edit(b.mia))
	claimed, err := b.db.Claim(t.Context(), agents.WorkerID(id.New()), 1, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "changed", claimed[0].Run.Input.Messages[0].Text)
	require.Equal(t, "run_begun", fault.Code(edit(b.mia)))
}
