package graph_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// drain reads a session's stream to its end.
func drain(s *graph.Session) (out []graph.SessionFrame) {
	for f := range s.Frames() {
		out = append(out, f)
	}
	return out
}

func TestASessionWorksOffOneInputAfterTheOther(t *testing.T) {
	t.Parallel()
	b := setUp(t, three(t, &counter{}))
	s := b.Open(t.Context(), b.thread, []graph.Mode{graph.ModeUpdates})
	for _, in := range []graph.Input{graph.Begin(log.Put([]string{"1"})), graph.Feed("c", log.Put([]string{"2"})), graph.Feed("c", log.Put([]string{"2"}))} {
		require.NoError(t, s.Feed(t.Context(), in))
	}
	s.Finish("enough")
	require.Equal(t, []string{"1", "a", "b", "c", "2", "c", "2", "c"}, logged(t, b.now()), "the same input twice runs twice")
	var got []string
	for _, f := range drain(s) {
		switch {
		case f.Ended:
			require.NoError(t, f.Err)
			got = append(got, "ended")
		case f.Closed != "":
			got = append(got, "closed: "+f.Closed)
		default:
			got = append(got, f.Update.Node)
		}
		require.Zero(t, f.Lost)
	}
	require.Equal(t, []string{"a", "b", "c", "ended", "c", "ended", "c", "ended", "closed: enough"}, got)
	require.ErrorIs(t, s.Feed(t.Context(), graph.Begin()), graph.ErrSessionClosed)
	s.Finish("again") // does nothing
}

func TestASessionTellsHowEachInputEnded(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		switch ran.add("a") {
		case 1:
			return asking(ctx, task)
		case 3:
			return boom(ctx, task)
		}
		return asking(ctx, task)
	}).Entry("a").Finish("a")))
	s := b.Open(t.Context(), b.thread, nil)
	require.ErrorAs(t, s.Feed(t.Context(), graph.Begin()), new(*graph.Interrupted))
	require.NoError(t, s.Feed(t.Context(), graph.Answer(1)))
	before := b.now()
	refusal(t, s.Feed(t.Context(), graph.Feed(graph.End)), "entry", graph.ErrNoSuchNode)
	refusal(t, s.Feed(t.Context(), graph.Feed("z")), "entry", graph.ErrNoSuchNode)
	require.ErrorIs(t, s.Feed(t.Context(), graph.Answer(1)), agents.ErrNotInterrupted)
	require.Equal(t, before, b.now(), "what was wrong with an input changed nothing")
	require.ErrorAs(t, s.Feed(t.Context(), graph.Feed(graph.Start)), new(*graph.NodeError))
	s.Finish("done")
	var ended []bool
	for _, f := range drain(s) {
		if f.Ended {
			ended = append(ended, f.Err == nil)
		}
	}
	require.Equal(t, []bool{false, true, false, false, false, false}, ended)
}

func TestTheStepsOfASessionNeverGoBack(t *testing.T) {
	t.Parallel()
	g := three(t, &counter{})
	b := setUp(t, g)
	last := -1
	for range 3 {
		b = over(t, g, b.cp) // another process
		s := b.Open(t.Context(), b.thread, nil)
		for range 2 {
			require.NoError(t, s.Feed(t.Context(), graph.Begin()))
			now := b.now()
			require.Greater(t, now.Step, last)
			last = now.Step
		}
		s.Finish("")
	}
	require.Len(t, logged(t, b.now()), 18)
	lines := map[agents.LineID]bool{}
	for _, s := range b.past() {
		lines[s.Head.Line] = true
	}
	require.Len(t, lines, 1, "one lineage")
}

func TestInputsOfASessionDoNotOverlap(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var running counter
	b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		if !mu.TryLock() {
			return graph.Command{}, errors.New("two at once")
		}
		defer mu.Unlock()
		running.add("a")
		return logs(ctx, task)
	}).Entry("a").Finish("a")))
	s := b.Open(t.Context(), b.thread, nil)
	var all sync.WaitGroup
	errs := make(chan error, 20)
	for range 20 {
		all.Go(func() { errs <- s.Feed(t.Context(), graph.Begin()) })
	}
	all.Wait()
	for range 20 {
		require.NoError(t, <-errs)
	}
	s.Finish("")
	require.Equal(t, 20, running.of("a"))
	require.Len(t, logged(t, b.now()), 20)
}

func TestFinishWaitsForTheInputUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
			<-gate
			return logs(ctx, task)
		}).Entry("a").Finish("a")))
		s := b.Open(t.Context(), b.thread, nil)
		fed, finished := make(chan error, 1), make(chan struct{})
		go func() { fed <- s.Feed(t.Context(), graph.Begin()) }()
		synctest.Wait()
		go func() {
			s.Finish("bye")
			close(finished)
		}()
		synctest.Wait()
		select {
		case <-finished:
			require.Fail(t, "it didn't wait")
		default:
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		impatient := errors.New("impatient")
		cancel(impatient)
		require.Error(t, s.Feed(ctx, graph.Begin()), "whoever comes later is refused")
		close(gate)
		<-finished
		require.NoError(t, <-fed)
		require.Equal(t, []string{"a"}, logged(t, b.now()))
	})
}

func TestTheEndOfItsContextEndsASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		b := setUp(t, compile(t, graph.New("g").Node("a", waits).Entry("a").Finish("a")))
		s := b.Open(ctx, b.thread, nil)
		fed := make(chan error, 1)
		go func() { fed <- s.Feed(t.Context(), graph.Begin()) }()
		synctest.Wait()
		shutdown := errors.New("shutdown")
		cancel(shutdown)
		require.ErrorIs(t, <-fed, shutdown)
		all := drain(s)
		require.Equal(t, "shutdown", all[len(all)-1].Closed)
		require.ErrorIs(t, s.Feed(t.Context(), graph.Begin()), graph.ErrSessionClosed)
		s.Finish("late")
	})
}

func TestAFeederMayGoAwayWhileItsInputRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
			<-gate
			return logs(ctx, task)
		}).Entry("a").Finish("a")))
		s := b.Open(t.Context(), b.thread, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		fed := make(chan error, 1)
		go func() { fed <- s.Feed(ctx, graph.Begin()) }()
		synctest.Wait()
		cancel(gone)
		require.ErrorIs(t, <-fed, gone)
		close(gate)
		s.Finish("")
		require.Equal(t, []string{"a"}, logged(t, b.now()), "it is worked off all the same")
	})
}

func TestASlowReaderOfASessionLosesFramesAndLearnsHowMany(t *testing.T) {
	t.Parallel()
	const said = 3000
	b := setUp(t, compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		for i := range said {
			task.EmitCustom(event.GraphCustom, i)
		}
		return graph.Command{}, nil
	}).Entry("a").Finish("a")))
	s := b.Open(t.Context(), b.thread, []graph.Mode{graph.ModeCustom})
	require.NoError(t, s.Feed(t.Context(), graph.Begin()), "the run doesn't wait for the reader")
	s.Finish("over")
	all := drain(s)
	got, lost, newest := 0, 0, -1
	for _, f := range all {
		lost += f.Lost
		if f.Mode == graph.ModeCustom {
			n, err := strconv.Atoi(string(f.Custom))
			require.NoError(t, err)
			require.Greater(t, n, newest, "what comes is in order")
			newest = n
			got++
		}
	}
	require.Greater(t, lost, 0)
	require.Equal(t, said, got+lost)
	require.Equal(t, "over", all[len(all)-1].Closed, "how it ended always arrives")
	require.True(t, all[len(all)-2].Ended)
}
