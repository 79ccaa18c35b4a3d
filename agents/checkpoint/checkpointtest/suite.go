// Package checkpointtest is the suite that every checkpointer passes, whatever it
// keeps histories in. The tests of agents/checkpoint/memory and
// agents/checkpoint/sqlite and of store call it; nothing else does.
package checkpointtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// Run runs the suite. open gives a checkpointer for one test; it may be shared
// by several, since each uses threads of its own.
func Run(t *testing.T, open func(t *testing.T) graph.Checkpointer) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*bench)
	}{
		{"AThreadBeginsWithoutSteps", fresh},
		{"AStateIsTheFoldOfItsSteps", fold},
		{"AStateIsTheFoldOfItsStepsAcrossASnapshot", long},
		{"OnlyTheNextStepIsCommitted", order},
		{"TheNewestLeaseWins", twoWriters},
		{"OfManyWritersOneCommitsAStep", manyWriters},
		{"ACommitThatIsCutOffHappenedOrDidNot", cutOff},
		{"ResultsOfAnIncompleteStepAreKept", pending},
		{"MessagesAreReplacedAndRemovedById", byID},
		{"TheHistoryListsAllLinesNewestFirst", history},
		{"AForkSharesItsPrefixAndLeavesItAlone", forks},
		{"AForkAsksAgain", forkAsksAgain},
		{"ACheckpointOfAnotherThreadIsNotFound", foreign},
		{"ACopyIsAThreadOfItsOwn", copies},
		{"ADeletedThreadIsGone", deletes},
		{"PruningKeepsWhatIsNeeded", prunes},
		{"ASubgraphHasALineOfItsOwn", subLines},
		{"BytesAreKept", bytesAreKept},
		{"CrashesChangeNothing", crashes},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(&bench{T: t, cp: open(t), thread: agents.ThreadID(id.New())})
		})
	}
}

// bench is one test's checkpointer and thread.
type bench struct {
	*testing.T
	cp     graph.Checkpointer
	thread agents.ThreadID
	lease  agents.Lease
	line   agents.LineID
}

// open takes the thread's lease.
func (b *bench) open() *bench {
	b.Helper()
	var err error
	b.lease, err = b.cp.Acquire(b.Context(), b.thread)
	require.NoError(b, err)
	b.line = b.state("").Line
	return b
}

func (b *bench) state(checkpoint string) agents.State {
	b.Helper()
	s, err := b.cp.State(b.Context(), b.thread, checkpoint)
	require.NoError(b, err)
	return s
}

func (b *bench) commit(s agents.Step) {
	b.Helper()
	require.NoError(b, b.cp.Commit(b.Context(), b.lease, s))
}

// say is a step that adds a message.
func say(line agents.LineID, step int, id, text string) agents.Step {
	m := agents.Message{ID: agents.MessageID(id), Role: agents.RoleAssistant, Text: text, CreatedAt: time.Unix(1700000000, 0).UTC()}
	return agents.Step{Line: line, Step: step, Source: agents.SourceLoop, Messages: []agents.Message{m}, Clear: true,
		Ops: []agents.Op{{Kind: agents.OpAppend, ID: m.ID}}, Next: agents.DueNodes("agent")}
}

func texts(s agents.State) []string {
	out := []string{}
	for _, m := range s.Messages {
		out = append(out, m.Text)
	}
	return out
}

func isNotFound(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, fault.KindNotFound, fault.KindOf(err), "%v", err)
}

func fresh(b *bench) {
	_, err := b.cp.State(b.Context(), b.thread, "")
	isNotFound(b.T, err)
	_, err = b.cp.History(b.Context(), b.thread, agents.HistoryQuery{Limit: 1})
	isNotFound(b.T, err)
	s := b.open().state("")
	require.Equal(b, -1, s.Step)
	require.NotEmpty(b, s.Line)
	require.Nil(b, s.Head)
	require.Empty(b, s.Messages)
	all, err := b.cp.History(b.Context(), b.thread, agents.HistoryQuery{Limit: 10})
	require.NoError(b, err)
	require.Empty(b, all)
	for _, limit := range []int{0, -1, agents.MaxHistory + 1} {
		_, err = b.cp.History(b.Context(), b.thread, agents.HistoryQuery{Limit: limit})
		require.Equal(b, "must be from 1 to 1000", fault.FieldsOf(err)["limit"])
	}
}

// model is the plain truth that a checkpointer is compared with.
type model struct {
	refs   []agents.Ref
	texts  map[agents.Ref]string
	values map[string]json.RawMessage
}

func (m model) list() []string {
	out := []string{}
	for _, r := range m.refs {
		out = append(out, m.texts[r])
	}
	return out
}

// randomStep makes a step with changes of every kind, and the truth after it.
func randomStep(rnd *rand.Rand, m model, line agents.LineID, n int) (agents.Step, model) {
	s := agents.Step{Line: line, Step: n, Source: agents.SourceLoop, Next: agents.DueNodes("agent"), Clear: true, Deltas: map[string][]agents.Delta{}}
	next := model{texts: m.texts, values: map[string]json.RawMessage{}}
	for k, v := range m.values {
		next.values[k] = v
	}
	put := func(kind agents.OpKind, ref agents.Ref, text string) {
		s.Messages = append(s.Messages, agents.Message{ID: ref.ID, Revision: ref.Rev, Role: agents.RoleUser, Text: text})
		s.Ops = append(s.Ops, agents.Op{Kind: kind, ID: ref.ID, Rev: ref.Rev})
		next.texts[ref] = text
	}
	if rnd.IntN(3) > 0 {
		put(agents.OpAppend, agents.Ref{ID: agents.MessageID(fmt.Sprintf("%s-%d", line[:8], n))}, fmt.Sprintf("text %d", n))
	}
	if len(m.refs) > 2 && rnd.IntN(4) == 0 {
		old := m.refs[rnd.IntN(len(m.refs))]
		put(agents.OpReplace, agents.Ref{ID: old.ID, Rev: rnd.Int64N(1 << 52)}, fmt.Sprintf("revised at %d", n))
	}
	if len(m.refs) > 3 && rnd.IntN(5) == 0 {
		s.Ops = append(s.Ops, agents.Op{Kind: agents.OpRemove, ID: m.refs[rnd.IntN(len(m.refs))].ID})
	}
	for channel, d := range map[string]agents.Delta{
		"last":  {Op: agents.DeltaSet, Value: raw(n)},
		"log":   {Op: agents.DeltaAppend, Value: raw([]int{n})},
		"facts": {Op: agents.DeltaMerge, Value: raw(map[string]int{fmt.Sprint("k", n%5): n})},
		"sum":   {Op: agents.DeltaAdd, Value: raw(n)},
		"docs":  {Op: agents.DeltaUpsert, Value: raw([]map[string]any{{"id": fmt.Sprint("d", n%4), "n": n}})},
		"_own":  {Op: agents.DeltaSet, Value: raw(n), From: raw("in")},
	} {
		if rnd.IntN(3) == 0 {
			s.Deltas[channel] = []agents.Delta{d, d}
		}
	}
	if rnd.IntN(9) == 0 {
		s.Deltas["last"] = []agents.Delta{{Op: agents.DeltaDrop}}
	}
	if rnd.IntN(9) == 0 {
		s.Deltas["docs"] = []agents.Delta{{Op: agents.DeltaRemove, Value: raw([]string{"d1"})}}
	}
	next.refs = agents.ApplyOps(m.refs, s.Ops)
	for channel, deltas := range s.Deltas {
		if err := agents.Fold(next.values, channel, deltas); err != nil {
			panic(err)
		}
	}
	if n > 0 && n%agents.SnapshotEvery == 0 {
		s.Snapshot = &agents.Snapshot{Messages: next.refs, Values: next.values}
	}
	return s, next
}

func raw(v any) json.RawMessage {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

func (b *bench) same(want model, got agents.State, at int) {
	b.Helper()
	require.Equal(b, at, got.Step)
	require.Empty(b, cmp.Diff(want.list(), texts(got)), "at step %d", at)
	require.Len(b, got.Values, len(want.values), "at step %d", at)
	for name, v := range want.values {
		require.JSONEq(b, string(v), string(got.Values[name]), "channel %s at step %d", name, at)
	}
}

func (b *bench) steps(seed uint64, from, to int, m model) []model {
	b.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	var out []model
	for n := from; n <= to; n++ {
		var s agents.Step
		s, m = randomStep(rnd, m, b.line, n)
		b.commit(s)
		out = append(out, m)
	}
	return out
}

func empty() model {
	return model{texts: map[agents.Ref]string{}, values: map[string]json.RawMessage{}}
}

func fold(b *bench) {
	b.open()
	rnd := rand.New(rand.NewPCG(7, 1))
	m, all := empty(), []model{}
	for n := range 120 {
		var s agents.Step
		s, m = randomStep(rnd, m, b.line, n)
		b.commit(s)
		all = append(all, m)
		got := b.state("")
		b.same(m, got, n)
		require.Equal(b, agents.CheckpointID(b.line, n), got.Head.ID)
		require.Equal(b, n, got.Head.Step)
		require.Equal(b, agents.DueNodes("agent"), got.Head.Next)
		if n > 0 {
			require.Equal(b, n-1, got.Parent.Step)
		}
	}
	for _, n := range []int{0, 1, 48, 49, 50, 51, 99, 100, 101, 118} {
		b.same(all[n], b.state(agents.CheckpointID(b.line, n)), n)
	}
}

func long(b *bench) {
	b.open()
	all := b.steps(11, 0, 1130, empty())
	for _, n := range []int{950, 998, 999, 1000, 1001, 1049, 1050, 1051, 1130} {
		b.same(all[n], b.state(agents.CheckpointID(b.line, n)), n)
	}
}

func order(b *bench) {
	b.open()
	b.commit(say(b.line, 0, "a", "a"))
	for _, s := range []agents.Step{say(b.line, 0, "b", "b"), say(b.line, 2, "b", "b"), say(agents.LineID(id.New()), 1, "b", "b")} {
		require.ErrorIs(b, b.cp.Commit(b.Context(), b.lease, s), agents.ErrFenced)
	}
	require.Equal(b, []string{"a"}, texts(b.state("")))
	b.commit(say(b.line, 1, "b", "b"))
	require.Equal(b, []string{"a", "b"}, texts(b.state("")))
}

func twoWriters(b *bench) {
	b.open()
	old := b.lease
	b.commit(say(b.line, 0, "a", "a"))
	b.open()
	kept := agents.PendingWrites{Line: b.line, Step: 0, Pending: []agents.Pending{{Task: 0, Result: &agents.Result{}}}}
	require.ErrorIs(b, b.cp.Commit(b.Context(), old, say(b.line, 1, "b", "old")), agents.ErrFenced)
	require.ErrorIs(b, b.cp.Pend(b.Context(), old, kept), agents.ErrFenced)
	_, err := b.cp.Fork(b.Context(), old, agents.CheckpointID(b.line, 0))
	require.ErrorIs(b, err, agents.ErrFenced)
	_, err = b.cp.SubLine(b.Context(), old, agents.SubLine{Line: agents.LineID(id.New()), NS: []string{"n:x"}, Parent: b.line})
	require.ErrorIs(b, err, agents.ErrFenced)
	require.Empty(b, b.state("").Pending)
	b.commit(say(b.line, 1, "b", "new"))
	require.Equal(b, []string{"a", "new"}, texts(b.state("")))
}

func manyWriters(b *bench) {
	b.open()
	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() {
			lease, err := b.cp.Acquire(b.Context(), b.thread)
			if err == nil {
				err = b.cp.Commit(b.Context(), lease, say(b.line, 0, fmt.Sprint("m", i), fmt.Sprint("by ", i)))
			}
			errs[i] = err
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			require.ErrorIs(b, err, agents.ErrFenced)
		}
	}
	s := b.state("")
	require.Equal(b, won > 0, s.Step == 0)
	require.LessOrEqual(b, won, 1)
	require.Len(b, s.Messages, won)
}

func cutOff(b *bench) {
	b.open()
	rnd := rand.New(rand.NewPCG(3, 1))
	m, n := empty(), 0
	for range 40 {
		s, next := randomStep(rnd, m, b.line, n)
		ctx, cancel := context.WithTimeout(b.Context(), time.Duration(rnd.IntN(1500))*time.Microsecond)
		err := b.cp.Commit(ctx, b.lease, s)
		cancel()
		if err != nil {
			b.open() // a new lease settles whether the commit may still happen
		}
		got := b.state("")
		if err == nil {
			require.Equal(b, n, got.Step, "what was confirmed happened")
		}
		if got.Step == n {
			m, n = next, n+1
		}
		b.same(m, got, n-1)
	}
}

func pending(b *bench) {
	b.open()
	s := say(b.line, 0, "a", "a")
	s.Next = []agents.Due{{Node: "x"}, {Node: "w", Input: raw(map[string]int{"n": 1})}, {Node: "w", Input: raw("two")}, {Node: "sub"}}
	b.commit(s)
	require.Equal(b, s.Next, b.state("").Head.Next)
	sub := agents.LineID(id.New())
	result := &agents.Result{
		Writes: []agents.Change{{Channel: "log", Delta: &agents.Delta{Op: agents.DeltaAppend, Value: raw([]string{"w"})}},
			{Message: &agents.Message{ID: "m", Role: agents.RoleAssistant, Text: "said", ToolCalls: []agents.ToolCall{{ID: "c", Name: "t", Args: json.RawMessage(`{"b":1,"a":2.50}`)}}}},
			{Remove: "a"}},
		Jump: true, Goto: []string{"x"}, Also: []string{"y"}, Send: []agents.Due{{Node: "w", Input: raw(3)}},
	}
	keep := func(step int, all ...agents.Pending) error {
		return b.cp.Pend(b.Context(), b.lease, agents.PendingWrites{Line: b.line, Step: step, Pending: all})
	}
	require.NoError(b, keep(0, agents.Pending{Task: 2, Result: result}, agents.Pending{Task: 3, Line: sub}))
	require.NoError(b, keep(0, agents.Pending{Task: 1, Result: &agents.Result{}}))
	want := []agents.Pending{{Task: 1, Result: &agents.Result{}}, {Task: 2, Result: result}, {Task: 3, Line: sub}}
	require.Empty(b, cmp.Diff(want, b.state("").Pending))
	require.Empty(b, b.state(agents.CheckpointID(b.line, 0)).Head.Interrupts)

	require.NoError(b, keep(0, agents.Pending{Task: 3, Result: &agents.Result{Also: []string{"z"}}}), "a task's newest news counts")
	require.Equal(b, &agents.Result{Also: []string{"z"}}, b.state("").Pending[2].Result)
	require.ErrorIs(b, keep(1, agents.Pending{Task: 0, Result: &agents.Result{}}), agents.ErrFenced, "of a step that is not the newest")

	// A step that pauses keeps what is known; the one that completes it clears it.
	pause := agents.Step{Line: b.line, Step: 1, Source: agents.SourceLoop, Next: s.Next, Pending: want[:2], Clear: true,
		Interrupts: []agents.Interrupt{{ID: "i", Node: "x", Kind: agents.Question, Value: raw("?")}}}
	b.commit(pause)
	got := b.state("")
	require.Empty(b, cmp.Diff(want[:2], got.Pending))
	require.Equal(b, pause.Interrupts, got.Head.Interrupts)
	b.commit(agents.Step{Line: b.line, Step: 2, Source: agents.SourceLoop, Clear: true})
	require.Empty(b, b.state("").Pending)
	require.Empty(b, b.state("").Head.Next)
}

func byID(b *bench) {
	b.open()
	b.commit(say(b.line, 0, "a", "one"))
	b.commit(say(b.line, 1, "b", "two"))
	s := agents.Step{Line: b.line, Step: 2, Source: agents.SourceLoop, Messages: []agents.Message{{ID: "a", Revision: 77, Role: agents.RoleUser, Text: "one again"}},
		Ops: []agents.Op{{Kind: agents.OpReplace, ID: "a", Rev: 77}, {Kind: agents.OpRemove, ID: "b"}}}
	b.commit(s)
	require.Equal(b, []string{"one again"}, texts(b.state("")))
	require.Equal(b, int64(77), b.state("").Messages[0].Revision)
	require.Equal(b, []string{"one", "two"}, texts(b.state(agents.CheckpointID(b.line, 1))), "what was is still there")
}

func history(b *bench) {
	b.open()
	first := b.line
	for n := range 5 {
		b.commit(say(b.line, n, fmt.Sprint("m", n), fmt.Sprint("t", n)))
	}
	var err error
	b.line, err = b.cp.Fork(b.Context(), b.lease, agents.CheckpointID(first, 1))
	require.NoError(b, err)
	b.commit(say(b.line, 2, "f2", "fork"))
	list := func(q agents.HistoryQuery) []string {
		all, err := b.cp.History(b.Context(), b.thread, q)
		require.NoError(b, err)
		var out []string
		for _, s := range all {
			require.Equal(b, s.Head.ID, agents.CheckpointID(s.Line, s.Step))
			out = append(out, fmt.Sprintf("%d%v", s.Step, texts(s)))
		}
		return out
	}
	want := []string{"2[t0 t1 fork]", "4[t0 t1 t2 t3 t4]", "3[t0 t1 t2 t3]", "2[t0 t1 t2]", "1[t0 t1]", "0[t0]"}
	require.Equal(b, want, list(agents.HistoryQuery{Limit: 100}))
	require.Equal(b, want[:2], list(agents.HistoryQuery{Limit: 2}))
	require.Equal(b, want[3:5], list(agents.HistoryQuery{Limit: 2, Before: agents.CheckpointID(first, 3)}))
	require.Equal(b, want[1:], list(agents.HistoryQuery{Limit: 100, Before: agents.CheckpointID(b.line, 2)}))
	require.Empty(b, list(agents.HistoryQuery{Limit: 100, Before: agents.CheckpointID(first, 0)}))
	_, err = b.cp.History(b.Context(), b.thread, agents.HistoryQuery{Limit: 1, Before: agents.CheckpointID(first, 9)})
	isNotFound(b.T, err)
	all, err := b.cp.History(b.Context(), b.thread, agents.HistoryQuery{Limit: 2})
	require.NoError(b, err)
	require.Equal(b, agents.CheckpointID(first, 1), all[0].Parent.ID, "the parent of a fork's first step is where it begins")
	require.Equal(b, agents.CheckpointID(first, 3), all[1].Parent.ID)
}

func forks(b *bench) {
	b.open()
	trunk, truth := b.line, b.steps(5, 0, 110, empty())
	for _, at := range []int{30, 50, 51, 99, 104} {
		var err error
		b.line, err = b.cp.Fork(b.Context(), b.lease, agents.CheckpointID(trunk, at))
		require.NoError(b, err)
		got := b.state("")
		require.Equal(b, b.line, got.Line)
		b.same(truth[at], got, at)
		branch := b.steps(uint64(at), at+1, at+60, truth[at])
		b.same(branch[59], b.state(""), at+60)

		limb := b.line
		b.line, err = b.cp.Fork(b.Context(), b.lease, agents.CheckpointID(limb, at+20))
		require.NoError(b, err)
		twig := b.steps(uint64(at)+1, at+21, at+25, branch[19])
		b.same(twig[4], b.state(""), at+25)
		b.same(branch[59], b.state(agents.CheckpointID(limb, at+60)), at+60)
		_, err = b.cp.State(b.Context(), b.thread, agents.CheckpointID(limb, at-5))
		isNotFound(b.T, err) // that step is the trunk's
	}
	b.same(truth[110], b.state(agents.CheckpointID(trunk, 110)), 110)

	// A line whose first own step holds the whole state has a step before it too.
	var err error
	b.line, err = b.cp.Fork(b.Context(), b.lease, agents.CheckpointID(trunk, 49))
	require.NoError(b, err)
	before, whole := b.state(""), say(b.line, 50, "whole", "whole")
	whole.Snapshot = &agents.Snapshot{Messages: append(before.Refs(), agents.Ref{ID: "whole"}), Values: before.Values}
	b.commit(whole)
	after := b.state("")
	require.Equal(b, append(texts(before), "whole"), texts(after))
	require.Equal(b, before.Values, after.Values)
	require.NotNil(b, after.Parent)
	require.Equal(b, agents.CheckpointID(trunk, 49), after.Parent.ID)

	// The same message with another text on another line.
	for i, text := range []string{"one", "two"} {
		line, err := b.cp.Fork(b.Context(), b.lease, agents.CheckpointID(trunk, 0))
		require.NoError(b, err)
		s := say(line, 1, "edited", text)
		s.Messages[0].Revision, s.Ops[0].Rev = int64(i+1), int64(i+1)
		b.commit(s)
		got := texts(b.state(""))
		require.Equal(b, text, got[len(got)-1])
	}
}

func forkAsksAgain(b *bench) {
	b.open()
	trunk := b.line
	s := say(b.line, 0, "a", "a")
	s.Interrupts = []agents.Interrupt{{ID: "i", Node: "agent", Kind: agents.Question, Value: raw("?")}}
	b.commit(s)
	require.NoError(b, b.cp.Pend(b.Context(), b.lease, agents.PendingWrites{Line: b.line, Pending: []agents.Pending{{Task: 0, Result: &agents.Result{}}}}))
	_, err := b.cp.Fork(b.Context(), b.lease, agents.CheckpointID(trunk, 0))
	require.NoError(b, err)
	got := b.state("")
	require.Equal(b, agents.DueNodes("agent"), got.Head.Next)
	require.Empty(b, got.Head.Interrupts)
	require.Empty(b, got.Pending)
	was := b.state(agents.CheckpointID(trunk, 0))
	require.Len(b, was.Head.Interrupts, 1)
	require.Len(b, was.Pending, 1)
}

func foreign(b *bench) {
	b.open()
	b.commit(say(b.line, 0, "a", "a"))
	other := &bench{T: b.T, cp: b.cp, thread: agents.ThreadID(id.New())}
	other.open()
	other.commit(say(other.line, 0, "a", "b"))
	for _, checkpoint := range []string{agents.CheckpointID(other.line, 0), agents.CheckpointID(b.line, 1), id.New(), "x"} {
		_, err := b.cp.State(b.Context(), b.thread, checkpoint)
		isNotFound(b.T, err)
		_, err = b.cp.Fork(b.Context(), b.lease, checkpoint)
		isNotFound(b.T, err)
	}
	require.ErrorIs(b, b.cp.Commit(b.Context(), b.lease, say(other.line, 1, "x", "x")), agents.ErrFenced)
	require.Equal(b, []string{"b"}, texts(other.state("")))
	require.Equal(b, []string{"a"}, texts(b.state("")))
}

func copies(b *bench) {
	b.open()
	trunk, truth := b.line, b.steps(9, 0, 60, empty())
	var err error
	b.line, err = b.cp.Fork(b.Context(), b.lease, agents.CheckpointID(trunk, 20))
	require.NoError(b, err)
	s := say(b.line, 21, "z", "asks")
	s.Interrupts = []agents.Interrupt{{ID: "i", Node: "agent", Kind: agents.Question, Value: raw("?")}}
	b.commit(s)
	to := &bench{T: b.T, cp: b.cp, thread: agents.ThreadID(id.New())}
	require.NoError(b, b.cp.Copy(b.Context(), b.thread, to.thread))
	require.Equal(b, fault.KindConflict, fault.KindOf(b.cp.Copy(b.Context(), b.thread, to.thread)))
	isNotFound(b.T, b.cp.Copy(b.Context(), agents.ThreadID(id.New()), agents.ThreadID(id.New())))
	want, got := b.state(""), to.open().state("")
	require.Equal(b, texts(want), texts(got))
	require.Equal(b, 21, got.Step)
	require.NotEqual(b, want.Line, got.Line)
	require.Equal(b, want.Head.Next, got.Head.Next)
	require.Empty(b, got.Head.Interrupts, "the copy asks for itself")
	was, err := b.cp.History(b.Context(), b.thread, agents.HistoryQuery{Limit: 100})
	require.NoError(b, err)
	now, err := b.cp.History(b.Context(), to.thread, agents.HistoryQuery{Limit: 100})
	require.NoError(b, err)
	require.Len(b, now, len(was))
	for i := range was {
		require.Equal(b, was[i].Step, now[i].Step)
		require.Equal(b, texts(was[i]), texts(now[i]))
	}
	to.commit(say(to.line, 22, "only", "in the copy"))
	require.Equal(b, texts(want), texts(b.state("")))
	b.open()
	b.commit(say(b.line, 22, "only", "in the first"))
	require.Equal(b, "in the copy", texts(to.state(""))[len(want.Messages)])
	require.NoError(b, b.cp.Delete(b.Context(), b.thread))
	require.Equal(b, "in the copy", texts(to.state(""))[len(want.Messages)])
	_ = truth
}

func deletes(b *bench) {
	b.open()
	b.commit(say(b.line, 0, "a", "a"))
	require.NoError(b, b.cp.Delete(b.Context(), b.thread))
	_, err := b.cp.State(b.Context(), b.thread, "")
	isNotFound(b.T, err)
	require.Error(b, b.cp.Commit(b.Context(), b.lease, say(b.line, 1, "b", "b")))
	require.NoError(b, b.cp.Delete(b.Context(), b.thread))
	old := b.lease
	b.open()
	require.Equal(b, -1, b.state("").Step, "the name may begin anew")
	require.ErrorIs(b, b.cp.Commit(b.Context(), old, say(b.line, 0, "a", "a")), agents.ErrFenced, "under a lease of the thread that is gone")
}

func prunes(b *bench) {
	b.open()
	trunk, truth := b.line, b.steps(13, 0, 130, empty())
	_, err := b.cp.Prune(b.Context(), b.thread, 0)
	require.Contains(b, fault.FieldsOf(err), "keep")
	_, err = b.cp.Fork(b.Context(), b.lease, agents.CheckpointID(trunk, 70))
	require.NoError(b, err)
	removed, err := b.cp.Prune(b.Context(), b.thread, 10)
	require.NoError(b, err)
	require.LessOrEqual(b, removed, 70, "what the fork stands on stays")
	require.Greater(b, removed, 70-agents.RollupEvery)
	b.same(truth[70], b.state(""), 70)
	for _, n := range []int{70, 71, 100, 130} {
		b.same(truth[n], b.state(agents.CheckpointID(trunk, n)), n)
	}
	_, err = b.cp.State(b.Context(), b.thread, agents.CheckpointID(trunk, 19))
	isNotFound(b.T, err)
	fork := b.state("").Line
	b.line = fork
	branch := b.steps(14, 71, 90, truth[70])
	s := say(fork, 91, "ask", "asks")
	s.Interrupts = []agents.Interrupt{{ID: "i", Node: "agent", Kind: agents.Question, Value: raw("?")}}
	b.commit(s)
	removed, err = b.cp.Prune(b.Context(), b.thread, 1)
	require.NoError(b, err)
	require.LessOrEqual(b, removed, 20, "of the fork; the trunk is pinned")
	got := b.state("")
	require.Equal(b, 91, got.Step)
	require.Len(b, got.Head.Interrupts, 1, "what waits is never removed")
	require.Equal(b, append(slices.Clone(branch[19].list()), "asks"), texts(got))
	b.same(truth[130], b.state(agents.CheckpointID(trunk, 130)), 130)
	more := b.steps(15, 92, 160, model{refs: append(slices.Clone(branch[19].refs), agents.Ref{ID: "ask"}), texts: branchTexts(branch[19], "ask", "asks"), values: branch[19].values})
	b.same(more[len(more)-1], b.state(""), 160)
	removed, err = b.cp.Prune(b.Context(), b.thread, 1000)
	require.NoError(b, err)
	require.Zero(b, removed)
}

func branchTexts(m model, id, text string) map[agents.Ref]string {
	m.texts[agents.Ref{ID: agents.MessageID(id)}] = text
	return m.texts
}

func subLines(b *bench) {
	b.open()
	b.commit(say(b.line, 0, "a", "a"))
	sub := agents.SubLine{Line: agents.LineID(id.New()), NS: []string{"research:x"}, Parent: b.line, ParentStep: 0}
	open := func() agents.State {
		s, err := b.cp.SubLine(b.Context(), b.lease, sub)
		require.NoError(b, err)
		return s
	}
	s := open()
	require.Equal(b, 0, s.Step)
	require.Nil(b, s.Head)
	require.Empty(b, s.Own)
	step := say(sub.Line, 1, "in", "inside")
	step.NS, step.Deltas = sub.NS, map[string][]agents.Delta{"log": {{Op: agents.DeltaAppend, Value: raw([]int{1})}}}
	b.commit(step)
	step = agents.Step{Line: sub.Line, NS: sub.NS, Step: 2, Source: agents.SourceLoop, Next: agents.DueNodes("more"),
		Messages: []agents.Message{{ID: "a", Revision: 5, Role: agents.RoleUser, Text: "changed inside"}},
		Ops:      []agents.Op{{Kind: agents.OpReplace, ID: "a", Rev: 5}, {Kind: agents.OpRemove, ID: "in"}},
		Deltas:   map[string][]agents.Delta{"own": {{Op: agents.DeltaSet, Value: raw(2), From: raw(1)}}}}
	b.commit(step)
	require.NoError(b, b.cp.Pend(b.Context(), b.lease, agents.PendingWrites{Line: sub.Line, Step: 2, Pending: []agents.Pending{{Task: 0, Result: &agents.Result{}}}}))
	s = open()
	require.Equal(b, 2, s.Step)
	require.Equal(b, agents.DueNodes("more"), s.Head.Next)
	require.Len(b, s.Pending, 1)
	require.Len(b, s.Own, 5)
	require.Equal(b, "inside", s.Own[0].Message.Text)
	require.Equal(b, "log", s.Own[1].Channel)
	require.Equal(b, "changed inside", s.Own[2].Message.Text)
	require.Equal(b, int64(5), s.Own[2].Message.Revision)
	require.Equal(b, agents.MessageID("in"), s.Own[3].Remove)
	require.JSONEq(b, `1`, string(s.Own[4].Delta.From))

	require.NoError(b, b.cp.Pend(b.Context(), b.lease, agents.PendingWrites{Line: b.line, Step: 0, Pending: []agents.Pending{{Task: 0, Line: sub.Line}}}))
	_, err := b.cp.Prune(b.Context(), b.thread, 1)
	require.NoError(b, err)
	require.Empty(b, cmp.Diff(s, open()), "pruning leaves alone what a task under way is made of")

	require.Equal(b, []string{"a"}, texts(b.state("")), "the thread knows nothing of it")
	all, err := b.cp.History(b.Context(), b.thread, agents.HistoryQuery{Limit: 10})
	require.NoError(b, err)
	require.Len(b, all, 1)
	_, err = b.cp.State(b.Context(), b.thread, agents.CheckpointID(sub.Line, 1))
	isNotFound(b.T, err)
}

func bytesAreKept(b *bench) {
	b.open()
	odd := `{"z":1,"a":  [1.50, 1e3, "ü \u0001 <b> &  "]}`
	s := say(b.line, 0, "a", "tab\tnul-free \u2028 🧵")
	s.Messages[0].ToolCalls = []agents.ToolCall{{ID: "c", Name: "t", Args: json.RawMessage(odd)}}
	s.Metadata = raw(map[string]string{"k": "v"})
	s.Next = []agents.Due{{Node: "n", Input: json.RawMessage(odd)}}
	s.Deltas = map[string][]agents.Delta{"raw": {{Op: agents.DeltaSet, Value: json.RawMessage(odd)}}}
	b.commit(s)
	got := b.state("")
	require.Equal(b, s.Messages[0].Text, got.Messages[0].Text)
	require.JSONEq(b, odd, string(got.Values["raw"]))
	again := b.state(agents.CheckpointID(b.line, 0))
	require.JSONEq(b, odd, string(again.Head.Next[0].Input))
	require.Equal(b, string(got.Head.Next[0].Input), string(again.Head.Next[0].Input), "and the same each time")
	require.JSONEq(b, odd, string(got.Messages[0].ToolCalls[0].Args))
	require.JSONEq(b, `{"k":"v"}`, string(got.Head.Metadata))
	require.Equal(b, agents.SourceLoop, got.Head.Source)
	require.False(b, got.Head.CreatedAt.IsZero())
	require.True(b, errors.Is(b.cp.Commit(b.Context(), b.lease, s), agents.ErrFenced))
}
