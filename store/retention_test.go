package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/retention"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// sweepUntil removes batch after batch of one thread.
func (b *bundle) sweepUntil(t testing.TB, cuts agents.Cuts, scope auth.Scope, thread agents.ThreadID) agents.Swept {
	t.Helper()
	var sum agents.Swept
	for range 1000 {
		went, err := b.db.SweepThread(t.Context(), cuts, agents.ThreadKey{Org: scope.Org, Thread: thread}, false)
		require.NoError(t, err)
		if went.Nothing() {
			return sum
		}
		sum.Add(went)
		if went.Threads > 0 {
			return sum
		}
	}
	require.Fail(t, "a sweep without end")
	return sum
}

// due tells of which threads of a page something may go.
func (b *bundle) due(t testing.TB, cuts agents.Cuts) map[agents.ThreadKey]bool {
	t.Helper()
	out := map[agents.ThreadKey]bool{}
	var last agents.ThreadKey
	for {
		found, err := b.db.SweepPage(t.Context(), cuts, last, 3)
		require.NoError(t, err)
		for _, c := range found {
			require.NotContains(t, out, c.ThreadKey)
			out[c.ThreadKey] = c.Due
			last = c.ThreadKey
		}
		if len(found) < 3 {
			return out
		}
	}
}

func at(moment time.Time) agents.Cuts {
	return agents.Cuts{Threads: moment, Checkpoints: moment, Events: moment, Keep: 1}
}

// all is later than everything.
func all() time.Time { return time.Now().Add(24 * time.Hour) }

var empty = naive{values: map[string]json.RawMessage{}}

// program makes a thread whose steps a program commits: no run is open on it.
func (b *bundle) program(t testing.TB, scope auth.Scope) (agents.Thread, agents.Lease) {
	t.Helper()
	thread := b.thread(t, scope, agents.VisibilityPrivate)
	lease, err := b.db.Acquire(t.Context(), scope, thread.ID)
	require.NoError(t, err)
	return thread, lease
}

// states reads every state there is of a thread, the newest first.
func (b *bundle) states(t testing.TB, thread agents.ThreadID) []agents.State {
	t.Helper()
	all, err := b.db.History(t.Context(), b.mia, thread, agents.HistoryQuery{Limit: agents.MaxHistory})
	require.NoError(t, err)
	return all
}

// seenOf is what a state says, whatever was pruned: the whole of it may stand beside
// its step now, and the step before may be gone.
func seenOf(t testing.TB, s agents.State) string {
	t.Helper()
	head := *s.Head
	head.Snapshot, head.Rollup = nil, nil
	s.Head, s.Parent = &head, nil
	raw, err := json.Marshal(s)
	require.NoError(t, err)
	return string(raw)
}

func TestWhateverIsPrunedEveryStateThatStaysReadsAsBefore(t *testing.T) {
	b := setup(t)
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		thread, lease := b.program(t, b.mia)
		lines := map[agents.LineID]int{}
		line, truth, refs, next := thread.Line, empty, []agents.Ref(nil), 0
		for round := range 5 {
			n := 20 + rnd.IntN(110)
			truth = b.history(t, lease, line, next, n, refs, truth)[n-1]
			next += n
			lines[line] = next - 1

			before := b.states(t, thread.ID)
			cuts := agents.Cuts{Keep: 1 + rnd.IntN(60), Batch: 50 * (1 + rnd.IntN(3)), Checkpoints: all()}
			if rnd.IntN(3) > 0 {
				cuts.Checkpoints = before[rnd.IntN(len(before))].Head.CreatedAt
			}
			went := b.sweepUntil(t, cuts, b.mia, thread.ID)
			after := b.states(t, thread.ID)
			require.Len(t, after, len(before)-went.Checkpoints)
			left := map[string]string{}
			for i, s := range after {
				left[s.Head.ID] = seenOf(t, s)
				if i%10 == 0 || i == len(after)-1 {
					alone, err := b.db.StateAt(t.Context(), b.mia, thread.ID, s.Head.ID)
					require.NoError(t, err)
					require.Equal(t, left[s.Head.ID], seenOf(t, alone), "seed %d, round %d", seed, round)
				}
			}
			for _, was := range before {
				if now, stays := left[was.Head.ID]; stays {
					require.Equal(t, seenOf(t, was), now, "seed %d, round %d", seed, round)
					continue
				}
				require.True(t, was.Head.CreatedAt.Before(cuts.Checkpoints), "a young step is gone")
				require.LessOrEqual(t, was.Step, lines[was.Line]-cuts.Keep, "one of the newest is gone")
				_, err := b.db.StateAt(t.Context(), b.mia, thread.ID, was.Head.ID)
				requireKind(t, fault.KindNotFound, err)
			}
			b.requireState(t, thread.ID, truth, next-1)
			for line, step := range lines {
				require.Contains(t, left, agents.CheckpointID(line, step), "the newest of each line stays")
			}
			// A line begins at some step that is left.
			from := after[rnd.IntN(len(after))]
			var err error
			line, err = b.db.Fork(t.Context(), b.mia, lease, from.Head.ID)
			require.NoError(t, err)
			refs, next = from.Refs(), from.Step+1
			truth = naive{values: from.Values}
			for _, m := range from.Messages {
				truth.texts = append(truth.texts, m.Text)
			}
		}
		b.sweepUntil(t, agents.Cuts{Keep: 1, Checkpoints: all()}, b.mia, thread.ID)
		kept := map[agents.Ref]bool{}
		for _, s := range b.states(t, thread.ID) {
			for _, r := range s.Refs() {
				kept[r] = true
			}
			for _, op := range s.Head.Ops {
				kept[agents.Ref{ID: op.ID, Rev: op.Rev}] = true
			}
		}
		conn := b.inOrg(t, b.mia)
		require.LessOrEqual(t, scan[int](t, conn, "select count(*) from messages where thread_id = $1", string(thread.ID)), len(kept),
			"no message is left that nothing shows")
	}
}

// TestShortThreadsKeepTheirStepsBesideLongOnes is about a query that counts the
// newest over all threads, or compares a table with itself: it takes all of a
// short thread because another is long.
func TestShortThreadsKeepTheirStepsBesideLongOnes(t *testing.T) {
	b := setup(t)
	steps := map[agents.ThreadID]int{}
	truth := map[agents.ThreadID]naive{}
	for _, n := range []int{1, 5, 49, 51, 300, 5, 120} {
		thread, lease := b.program(t, b.mia)
		all := b.history(t, lease, thread.Line, 0, n, nil, empty)
		steps[thread.ID], truth[thread.ID] = n, all[n-1]
	}
	cuts := agents.Cuts{Keep: 100, Checkpoints: all()}
	due := b.due(t, cuts)
	for thread, n := range steps {
		require.Equal(t, n > 150, due[agents.ThreadKey{Org: b.mia.Org, Thread: thread}], "%d steps", n)
		b.sweepUntil(t, cuts, b.mia, thread)
		left := len(b.states(t, thread))
		require.GreaterOrEqual(t, left, min(n, 100), "%d steps", n)
		require.LessOrEqual(t, left, 100+agents.RollupEvery, "%d steps", n)
		b.requireState(t, thread, truth[thread], n-1)
	}
	for thread, n := range steps {
		b.sweepUntil(t, agents.Cuts{Keep: 1, Checkpoints: all()}, b.mia, thread)
		require.LessOrEqual(t, len(b.states(t, thread)), agents.RollupEvery+1, "%d steps", n)
		b.requireState(t, thread, truth[thread], n-1)
	}
	require.NotContains(t, mapValues(b.due(t, cuts)), true)
}

func mapValues[K comparable, V any](m map[K]V) []V {
	var out []V
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// contents is all that is stored of threads of an organisation.
func (b *bundle) contents(t testing.TB, scope auth.Scope) map[string]string {
	t.Helper()
	conn := b.inOrg(t, scope)
	out := map[string]string{}
	for _, table := range []string{"threads", "thread_heads", "lines", "checkpoints", "messages", "events", "runs", "reviews", "tool_journal", "pending_writes", "store_items"} {
		out[table] = scan[string](t, conn, "select coalesce(string_agg(t::text, e'\\n' order by t::text), '') from "+table+" t")
	}
	return out
}

func TestNothingGoesOfAThreadThatSomebodyWorksOnOrWaitsFor(t *testing.T) {
	b := setup(t)
	waiting := b.ask(t, b.mia).Thread
	pending := b.thread(t, b.mia, agents.VisibilityPrivate)
	b.submit(t, b.mia, pending.ID)
	running := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, running.ID)
	b.history(t, lease, running.Line, 0, 120, nil, empty)
	// A program's thread waits without a run.
	asking, own := b.program(t, b.mia)
	step := text(asking.Line, 0, "asks")
	step.Interrupts = []agents.Interrupt{{ID: "i", Node: "agent", Kind: agents.Question, Value: json.RawMessage(`"?"`)}}
	_, _, err := b.db.CommitStep(t.Context(), b.mia, own, step, nil)
	require.NoError(t, err)

	was := b.contents(t, b.mia)
	due := b.due(t, at(all()))
	for _, thread := range []agents.ThreadID{waiting, pending.ID, running.ID} {
		require.False(t, due[agents.ThreadKey{Org: b.mia.Org, Thread: thread}])
		require.Zero(t, b.sweepUntil(t, at(all()), b.mia, thread))
	}
	require.Zero(t, b.sweepUntil(t, at(all()), b.mia, asking.ID))
	require.Equal(t, was, b.contents(t, b.mia))

	_, err = b.db.FinishRun(t.Context(), b.mia, lease, agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	require.True(t, b.due(t, at(all()))[agents.ThreadKey{Org: b.mia.Org, Thread: running.ID}], "once its run has ended")
	require.Equal(t, 1, b.sweepUntil(t, at(all()), b.mia, running.ID).Threads)
}

// finished makes a thread with a run that ended, whose steps tell of themselves.
func (b *bundle) finished(t testing.TB, scope auth.Scope, steps int) agents.Thread {
	t.Helper()
	thread := b.thread(t, scope, agents.VisibilityPrivate)
	lease, _ := b.start(t, scope, thread.ID)
	for n := range steps {
		var finish *agents.Finish
		if n == steps-1 {
			finish = &agents.Finish{Status: agents.RunSuccess}
		}
		_, _, err := b.db.CommitStep(t.Context(), scope, lease, text(thread.Line, n, agents.MessageID(fmt.Sprint("m", n)), envelope(thread.ID, fmt.Sprint("step ", n))), finish)
		require.NoError(t, err)
	}
	return thread
}

func (b *bundle) log(t testing.TB, scope auth.Scope, thread agents.ThreadID) (seqs []int64, head agents.Position) {
	t.Helper()
	rows, head, err := b.db.Log(t.Context(), scope, thread, 0, 0)
	require.NoError(t, err)
	for _, r := range rows {
		seqs = append(seqs, r.Seq)
	}
	return seqs, head
}

func TestALogIsCutWhereTheStateCoversIt(t *testing.T) {
	b := setup(t)
	thread := b.finished(t, b.mia, 6)
	require.NoError(t, rename(t.Context(), b.db, b.mia, thread.ID, "After the last step"))
	was, err := b.db.View(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	seqs, head := b.log(t, b.mia, thread.ID)
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8}, seqs, "queued, six steps, renamed")

	conn := b.inOrg(t, b.mia)
	third := scan[time.Time](t, conn, "select created_at from events where thread_id = $1 and seq = 4", string(thread.ID))
	require.False(t, b.due(t, agents.Cuts{Events: thread.CreatedAt, Keep: 1})[agents.ThreadKey{Org: b.mia.Org, Thread: thread.ID}])
	went := b.sweepUntil(t, agents.Cuts{Events: third, Keep: 1}, b.mia, thread.ID)
	require.Equal(t, 3, went.Events)
	require.Zero(t, went.Checkpoints)
	require.Positive(t, went.Bytes)
	seqs, now := b.log(t, b.mia, thread.ID)
	require.Equal(t, []int64{4, 5, 6, 7, 8}, seqs, "what is young stays")
	require.Equal(t, head.Seq, now.Seq, "numbers go on")
	require.NotEqual(t, head.Epoch, now.Epoch)

	require.True(t, b.due(t, agents.Cuts{Events: all(), Keep: 1})[agents.ThreadKey{Org: b.mia.Org, Thread: thread.ID}])
	went = b.sweepUntil(t, agents.Cuts{Events: all(), Keep: 1, Batch: 2}, b.mia, thread.ID)
	require.Equal(t, 4, went.Events)
	seqs, now = b.log(t, b.mia, thread.ID)
	require.Equal(t, []int64{8}, seqs, "what no step covers stays, however old")
	require.False(t, b.due(t, agents.Cuts{Events: all(), Keep: 1})[agents.ThreadKey{Org: b.mia.Org, Thread: thread.ID}])

	view, err := b.db.View(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, was.Tail, view.Tail)
	require.Equal(t, was.Base.Seq, view.Base.Seq)
	require.Equal(t, now, view.Head)
	require.Empty(t, cmp.Diff(was.State, view.State))

	// A run goes on with the next number, and what it says can be cut in its turn.
	lease, _ := b.start(t, b.mia, thread.ID)
	_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 6, "m6", envelope(thread.ID, "step 6")), &agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	seqs, _ = b.log(t, b.mia, thread.ID)
	require.Equal(t, []int64{8, 9, 10}, seqs)
	require.Equal(t, 3, b.sweepUntil(t, agents.Cuts{Events: all(), Keep: 1}, b.mia, thread.ID).Events)
	seqs, now = b.log(t, b.mia, thread.ID)
	require.Empty(t, seqs)
	require.Equal(t, int64(10), now.Seq)
}

func TestALineWithoutAStepOfItsOwnCoversNothing(t *testing.T) {
	b := setup(t)
	thread := b.finished(t, b.mia, 3)
	lease, err := b.db.Acquire(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	_, err = b.db.Fork(t.Context(), b.mia, lease, agents.CheckpointID(thread.Line, 0))
	require.NoError(t, err)
	require.Zero(t, b.sweepUntil(t, agents.Cuts{Events: all(), Keep: 1}, b.mia, thread.ID))
	copied := agents.ThreadID(id.New())
	require.NoError(t, b.db.CopyThread(t.Context(), b.mia, thread.ID, copied))
	require.NoError(t, rename(t.Context(), b.db, b.mia, copied, "Copy"))
	require.Zero(t, b.sweepUntil(t, agents.Cuts{Events: all(), Keep: 1}, b.mia, copied))
}

func TestLinesOfSubgraphsGoOnceTheirTaskIsOver(t *testing.T) {
	b := setup(t)
	thread, lease := b.program(t, b.mia)
	commit := func(s agents.Step) {
		t.Helper()
		_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, s, nil)
		require.NoError(t, err)
	}
	commit(text(thread.Line, 0, "m0"))
	outer := agents.SubLine{Line: agents.LineID(id.New()), NS: []string{"a"}, Parent: thread.Line, ParentStep: 0}
	inner := agents.SubLine{Line: agents.LineID(id.New()), NS: []string{"a", "b"}, Parent: outer.Line, ParentStep: 0}
	for _, sub := range []agents.SubLine{outer, inner} {
		_, err := b.db.SubLine(t.Context(), b.mia, lease, sub)
		require.NoError(t, err)
		step := text(sub.Line, 1, agents.MessageID(sub.Line))
		step.NS = sub.NS
		commit(step)
	}
	key := agents.ThreadKey{Org: b.mia.Org, Thread: thread.ID}
	cuts := agents.Cuts{Checkpoints: all(), Keep: 1}
	was := b.contents(t, b.mia)
	require.Zero(t, b.sweepUntil(t, agents.Cuts{Checkpoints: thread.CreatedAt, Keep: 1}, b.mia, thread.ID))
	began := scan[time.Time](t, b.inOrg(t, b.mia), "select created_at from checkpoints where line_id = $1", string(outer.Line))
	commit(text(thread.Line, 1, "m1"))
	require.True(t, b.due(t, cuts)[key])
	require.Zero(t, b.sweepUntil(t, agents.Cuts{Checkpoints: began, Keep: 1}, b.mia, thread.ID).Messages, "the last of its steps is young")
	require.NotEqual(t, was, b.contents(t, b.mia))
	went := b.sweepUntil(t, cuts, b.mia, thread.ID)
	require.Equal(t, 2, went.Checkpoints)
	require.Equal(t, 2, went.Messages)
	require.False(t, b.due(t, cuts)[key])
	require.Equal(t, 1, scan[int](t, b.inOrg(t, b.mia), "select count(*) from lines"))
	b.requireState(t, thread.ID, naive{texts: []string{"text of m0", "text of m1"}, values: map[string]json.RawMessage{}}, 1)
}

func TestAThreadThatNobodyTouchedGoesWholeAndIsRecorded(t *testing.T) {
	b := setup(t)
	old, touched := b.finished(t, b.mia, 3), b.finished(t, b.mia, 3)
	_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: []string{"facts"}, Key: "k", Value: json.RawMessage(`"tea"`)})
	require.NoError(t, err)
	require.NoError(t, b.db.Audit(t.Context(), b.mia, auth.AuditEntry{Action: "tea.drunk", ObjectKind: "tea"}))
	moment := scan[time.Time](t, b.inOrg(t, b.mia), "select clock_timestamp()")
	require.NoError(t, rename(t.Context(), b.db, b.mia, touched.ID, "Still wanted"))
	cuts := agents.Cuts{Threads: moment, Keep: 1}
	due := b.due(t, cuts)
	require.True(t, due[agents.ThreadKey{Org: b.mia.Org, Thread: old.ID}])
	require.False(t, due[agents.ThreadKey{Org: b.mia.Org, Thread: touched.ID}])
	require.Zero(t, b.sweepUntil(t, cuts, b.mia, touched.ID))

	key := agents.ThreadKey{Org: b.mia.Org, Thread: old.ID}
	was := b.contents(t, b.mia)
	dry, err := b.db.SweepThread(t.Context(), cuts, key, true)
	require.NoError(t, err)
	require.Equal(t, was, b.contents(t, b.mia), "a dry run changes nothing")
	went := b.sweepUntil(t, cuts, b.mia, old.ID)
	require.Equal(t, went, dry)
	require.Equal(t, agents.Swept{Threads: 1, Checkpoints: 3, Messages: 3, Events: 4, Bytes: went.Bytes}, went)
	_, err = b.db.Thread(t.Context(), b.mia, old.ID)
	requireKind(t, fault.KindNotFound, err)
	conn := b.inOrg(t, b.mia)
	for _, table := range []string{"threads", "thread_heads", "lines", "runs"} {
		require.Equal(t, 1, scan[int](t, conn, "select count(*) from "+table), table)
	}
	require.Equal(t, 1, scan[int](t, conn, "select count(*) from store_items"), "what is remembered stays")
	page, err := b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{})
	require.NoError(t, err)
	require.Len(t, page.Rows, 2)
	require.Equal(t, "thread.deleted", page.Rows[0].Action)
	require.Equal(t, auth.ViaSystem, page.Rows[0].Via)
	require.Equal(t, string(old.ID), page.Rows[0].ObjectID)
	require.NotContains(t, page.Rows[0].ObjectName, old.Title)
	require.Empty(t, page.Rows[0].Actor)
	report, err := b.db.VerifyAuditOf(t.Context(), b.mia.Org)
	require.NoError(t, err)
	require.True(t, report.Holds())
	require.Zero(t, b.sweepUntil(t, cuts, b.mia, old.ID), "it is gone")
}

// TestDecidedReviewsGoWithTheirThreadAndTheAuditLogKeepsThem: what was decided,
// by whom and about which arguments outlives the thread.
func TestDecidedReviewsGoWithTheirThreadAndTheAuditLogKeepsThem(t *testing.T) {
	b := setup(t)
	r := b.ask(t, b.mia)
	_, err := b.db.CancelRun(t.Context(), b.mia, r.Thread, r.Run, "stopped", cancelled, withdrawn)
	require.NoError(t, err)
	worker := agents.WorkerID(id.New())
	claimed, err := b.db.Claim(t.Context(), worker, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	require.Zero(t, b.sweepUntil(t, at(all()), b.mia, r.Thread), "its run is not over yet")
	lease := agents.Lease{Thread: r.Thread, Run: r.Run, Token: claimed[0].Run.Token}
	state, err := b.db.State(t.Context(), b.mia, r.Thread)
	require.NoError(t, err)
	_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, text(state.Line, state.Step+1, "settled"), &agents.Finish{Status: agents.RunCancelled})
	require.NoError(t, err)
	require.Equal(t, 1, b.sweepUntil(t, at(all()), b.mia, r.Thread).Threads)
	conn := b.inOrg(t, b.mia)
	require.Zero(t, scan[int](t, conn, "select count(*) from reviews"))
	require.Zero(t, scan[int](t, conn, "select count(*) from tool_journal"))
	require.Equal(t, []string{"review.withdrawn", "thread.deleted"}, collect[string](t, conn, "select action from audit_log order by seq"))
	require.Contains(t, scan[string](t, conn, "select before::text from audit_log where action = 'review.withdrawn'"), "bob@example.com")
}

func TestASweepTouchesNothingOfAnotherOrganisation(t *testing.T) {
	b := setup(t)
	shared := agents.ThreadID(id.New()) // two organisations may choose the same id
	for _, scope := range []auth.Scope{b.mia, b.gia} {
		lease, err := b.db.Acquire(t.Context(), scope, shared)
		require.NoError(t, err)
		state, err := b.db.State(t.Context(), scope, shared)
		require.NoError(t, err)
		for n := range 110 {
			_, _, err := b.db.CommitStep(t.Context(), scope, lease, text(state.Line, n, agents.MessageID(fmt.Sprint("m", n)), envelope(shared, "step")), nil)
			require.NoError(t, err)
		}
	}
	theirs := b.contents(t, b.gia)
	for _, cuts := range []agents.Cuts{{Checkpoints: all(), Keep: 1}, {Events: all(), Keep: 1}, {Threads: all(), Keep: 1}} {
		ours := b.contents(t, b.mia)
		require.False(t, b.sweepUntil(t, cuts, b.mia, shared).Nothing())
		require.NotEqual(t, ours, b.contents(t, b.mia))
		require.Equal(t, theirs, b.contents(t, b.gia))
	}
	foreign := b.finished(t, b.mia, 3)
	require.Zero(t, b.sweepUntil(t, at(all()), b.gia, foreign.ID))
	require.Equal(t, theirs, b.contents(t, b.gia))
}

func TestOneNodeSweepsAtATime(t *testing.T) {
	b := setup(t)
	other := open(t, b.url)
	nothing := func(context.Context) error { return nil }
	begun, end, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		took, err := b.db.SweepTurn(t.Context(), time.Hour, func(context.Context) error {
			close(begun)
			<-end
			return nil
		})
		if err == nil && !took {
			err = errors.New("the first turn was not given")
		}
		done <- err
	}()
	<-begun
	b.start(t, b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID) // runs are claimed meanwhile
	for _, every := range []time.Duration{0, time.Hour} {
		took, err := other.SweepTurn(t.Context(), every, func(context.Context) error { return errors.New("two at once") })
		require.NoError(t, err)
		require.False(t, took)
	}
	close(end)
	require.NoError(t, <-done)
	took, err := other.SweepTurn(t.Context(), time.Hour, nothing)
	require.NoError(t, err)
	require.False(t, took, "not due")
	took, err = other.SweepTurn(t.Context(), 0, nothing)
	require.NoError(t, err)
	require.True(t, took, "by hand at any time")

	boom := errors.New("boom")
	took, err = other.SweepTurn(t.Context(), 0, func(context.Context) error { return boom })
	require.ErrorIs(t, err, boom)
	require.True(t, took)
	took, err = b.db.SweepTurn(t.Context(), time.Hour, nothing)
	require.NoError(t, err)
	require.True(t, took, "a turn that failed counts as none")

	// A node that dies in the middle leaves no lock behind.
	ctx, cancel := context.WithCancel(t.Context())
	took, err = b.db.SweepTurn(ctx, 0, func(ctx context.Context) error { cancel(); return ctx.Err() })
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, took)
	took, err = other.SweepTurn(t.Context(), 0, nothing)
	require.NoError(t, err)
	require.True(t, took)
}

func TestSweepersThatMeetAllTheSameRemoveEachRowOnce(t *testing.T) {
	b := setup(t)
	var threads []agents.ThreadKey
	truth := map[agents.ThreadID]naive{}
	for range 4 {
		thread, lease := b.program(t, b.mia)
		truth[thread.ID] = b.history(t, lease, thread.Line, 0, 130, nil, empty)[129]
		threads = append(threads, agents.ThreadKey{Org: b.mia.Org, Thread: thread.ID})
	}
	cuts := agents.Cuts{Checkpoints: all(), Keep: 1, Batch: 50}
	sums := make([]agents.Swept, 3)
	var sweepers errgroup.Group
	for i := range sums {
		sweepers.Go(func() error {
			for range 8 {
				for _, key := range threads {
					went, err := b.db.SweepThread(t.Context(), cuts, key, false)
					if err != nil {
						return err
					}
					sums[i].Add(went)
				}
			}
			return nil
		})
	}
	require.NoError(t, sweepers.Wait())
	var sum agents.Swept
	for _, s := range sums {
		sum.Add(s)
	}
	for _, key := range threads { // one that was always locked is passed over
		sum.Add(b.sweepUntil(t, cuts, b.mia, key.Thread))
		b.requireState(t, key.Thread, truth[key.Thread], 129)
	}
	require.Equal(t, 4*100, sum.Checkpoints)
}

func TestASweepBesideWhoeverCommitsAndForksBreaksNothing(t *testing.T) {
	b := setup(t)
	thread, lease := b.program(t, b.mia)
	busy := b.thread(t, b.mia, agents.VisibilityPrivate)
	run, _ := b.start(t, b.mia, busy.ID)
	cuts := agents.Cuts{Checkpoints: all(), Events: all(), Keep: 1, Batch: 50}
	ctx, stop := context.WithCancel(t.Context())
	var sweeper errgroup.Group
	var went, never agents.Swept
	sweeper.Go(func() error {
		for ctx.Err() == nil {
			for sum, id := range map[*agents.Swept]agents.ThreadID{&went: thread.ID, &never: busy.ID} {
				some, err := b.db.SweepThread(t.Context(), cuts, agents.ThreadKey{Org: b.mia.Org, Thread: id}, false)
				if err != nil {
					return err
				}
				sum.Add(some)
			}
		}
		return nil
	})
	line, truth, refs, next := thread.Line, empty, []agents.Ref(nil), 0
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 6 {
		truth = b.history(t, lease, line, next, 60, refs, truth)[59]
		next += 60
		_, _, err := b.db.CommitStep(t.Context(), b.mia, run, text(busy.Line, round, agents.MessageID(fmt.Sprint("b", round)), envelope(busy.ID, "step")), nil)
		require.NoError(t, err)
		state := b.requireState(t, thread.ID, truth, next-1)
		forked, err := b.db.Fork(t.Context(), b.mia, lease, agents.CheckpointID(line, next-1-rnd.IntN(59)))
		if err != nil {
			require.True(t, fault.Is(err, fault.KindNotFound) || fault.Is(err, fault.KindConflict), "%v", err)
			refs = state.Refs()
			continue
		}
		if state, err = b.db.State(t.Context(), b.mia, thread.ID); err != nil {
			require.NoError(t, err, "a fork stands on what is there")
		}
		line, refs, next = forked, state.Refs(), state.Step+1
		truth = naive{values: state.Values}
		for _, m := range state.Messages {
			truth.texts = append(truth.texts, m.Text)
		}
		require.Equal(t, fmt.Sprint(next), string(state.Values["count"]), "nothing of the fork's past is missing")
	}
	stop()
	require.NoError(t, sweeper.Wait())
	require.Positive(t, went.Checkpoints)
	require.Zero(t, never, "the run was under way")
	require.Len(t, b.states(t, busy.ID), 6)
}

// stopping ends its sweep after some batches, as the end of a process does.
type stopping struct {
	retention.Store
	left int
	stop func()
}

func (s *stopping) SweepThread(ctx context.Context, cuts agents.Cuts, key agents.ThreadKey, dry bool) (agents.Swept, error) {
	if s.left--; s.left == 0 {
		s.stop()
	}
	return s.Store.SweepThread(ctx, cuts, key, dry)
}

func TestASweepThatWasCutOffIsTakenUpAgain(t *testing.T) {
	b := setup(t)
	truth := map[agents.ThreadID]naive{}
	for range 5 {
		thread, lease := b.program(t, b.mia)
		truth[thread.ID] = b.history(t, lease, thread.Line, 0, 110, nil, empty)[109]
	}
	policy := agents.Retention{Strategy: agents.KeepLatest, Checkpoints: time.Hour, Keep: 1, Events: time.Hour}
	sweeper := func(s retention.Store) *retention.Sweeper {
		made, err := retention.New(retention.Options{Store: s, Policy: policy, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		return made
	}
	dry, err := sweeper(b.db).Sweep(t.Context(), all(), true)
	require.NoError(t, err)
	require.Equal(t, 500, dry.Total().Checkpoints)
	require.Equal(t, 5, dry.Threads)

	ctx, cancel := context.WithCancel(t.Context())
	first, err := sweeper(&stopping{b.db, 4, cancel}).Sweep(ctx, all(), false)
	require.ErrorIs(t, err, context.Canceled)
	require.Positive(t, first.Total().Checkpoints)
	for thread, want := range truth {
		b.requireState(t, thread, want, 109)
	}
	second, err := sweeper(b.db).Sweep(t.Context(), all(), false)
	require.NoError(t, err)
	require.Equal(t, 500, first.Total().Checkpoints+second.Total().Checkpoints)
	require.Equal(t, dry.Orgs[b.mia.Org].Messages, first.Total().Messages+second.Total().Messages)
	third, err := sweeper(b.db).Sweep(t.Context(), all(), false)
	require.NoError(t, err)
	require.Empty(t, third.Orgs)
	for thread, want := range truth {
		b.requireState(t, thread, want, 109)
	}
}

// flaky has lost the database the first time it is asked.
type flaky struct {
	retention.Store
	pages int
}

func (f *flaky) SweepPage(ctx context.Context, cuts agents.Cuts, after agents.ThreadKey, limit int) ([]agents.SweepCandidate, error) {
	if f.pages++; f.pages == 1 {
		return nil, errors.New("the connection is gone")
	}
	return f.Store.SweepPage(ctx, cuts, after, limit)
}

func TestANodeWhoseSweepFailedTriesAgainBeforeTheNextIsDue(t *testing.T) {
	b := setup(t)
	thread := b.finished(t, b.mia, 3)
	clock := clock.NewFake(all())
	gone := make(chan agents.ThreadKey, 1)
	sweeper, err := retention.New(retention.Options{Store: &flaky{Store: b.db}, Clock: clock, Logger: slog.New(slog.DiscardHandler), Every: time.Hour,
		Policy: agents.Retention{Events: time.Hour, Keep: 1}, Changed: func(_ context.Context, key agents.ThreadKey) { gone <- key }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var node errgroup.Group
	node.Go(func() error { sweeper.Run(ctx); return nil })
	for advanced := time.Duration(0); ; advanced += time.Minute {
		select {
		case key := <-gone:
			require.Equal(t, agents.ThreadKey{Org: b.mia.Org, Thread: thread.ID}, key)
			cancel()
			require.NoError(t, node.Wait())
			return
		case <-time.After(10 * time.Millisecond): // the node may not wait for the clock yet
			require.Less(t, advanced, 500*time.Minute)
			clock.Advance(time.Minute)
		}
	}
}

// TestOneThreadThatCannotBeSweptStopsNoOther: its steps are of a form that nobody
// can read.
func TestOneThreadThatCannotBeSweptStopsNoOther(t *testing.T) {
	b := setup(t)
	for range 3 {
		thread, lease := b.program(t, b.mia)
		b.history(t, lease, thread.Line, 0, 60, nil, empty)
	}
	bad, lease := b.program(t, b.mia)
	b.history(t, lease, bad.Line, 0, 60, nil, empty)
	owner := connect(t, b.url, "heddle_owner")
	_, err := owner.Exec(t.Context(), "alter table checkpoints no force row level security")
	require.NoError(t, err)
	_, err = owner.Exec(t.Context(), `update checkpoints set ops = '"nonsense"' where line_id = $1 and step = 55`, string(bad.Line))
	require.NoError(t, err)
	sweeper, err := retention.New(retention.Options{Store: b.db, Policy: agents.Retention{Checkpoints: time.Hour, Keep: 1}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	report, err := sweeper.Sweep(t.Context(), all(), false)
	require.NoError(t, err)
	require.Equal(t, 1, report.Failed)
	require.ErrorContains(t, report.Err, string(bad.ID))
	require.Equal(t, 150, report.Total().Checkpoints)
	require.Len(t, collect[int](t, owner, "select step from checkpoints where line_id = $1", string(bad.Line)), 60, "all of it, or nothing")
}
