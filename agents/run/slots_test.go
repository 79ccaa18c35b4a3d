package run_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

func TestARunThatEndsLeavesItsSlotToTheNext(t *testing.T) {
	t.Parallel()
	s := run.NewSlots(3)
	var ending []*run.Slot
	for range 3 {
		require.Equal(t, 3, s.Free(), "the ends of those before are being written")
		held := []*run.Slot{s.Take(), s.Take(), s.Take()}
		require.Zero(t, s.Free())
		for _, slot := range held {
			slot.Ending()
			slot.Ending()
		}
		<-s.Freed()
		ending = append(ending, held...)
	}
	require.Equal(t, 3, s.Free())
	more := []*run.Slot{s.Take(), s.Take(), s.Take()}
	more[0].Ending()
	require.Zero(t, s.Free(), "three may be ending for each slot")
	ending[0].Gone()
	ending[0].Gone()
	ending[0].Ending()
	require.Equal(t, 1, s.Free())
	for _, slot := range append(ending, more...) {
		slot.Gone()
	}
	require.Equal(t, 3, s.Free())
	require.Equal(t, 1, run.NewSlots(0).Free())
}

// TestNoWorkerExecutesMoreThanItsSlots: fifty runs for ten slots (LG-47). The first
// ten meet inside their nodes; nobody else may ever join them.
func TestNoWorkerExecutesMoreThanItsSlots(t *testing.T) {
	t.Parallel()
	const slots, runs = 10, 50
	var mu sync.Mutex
	inside, most := 0, 0
	full := make(chan struct{})
	busy, err := graph.New("busy").Node("busy", func(ctx context.Context, _ *graph.Task) (graph.Command, error) {
		mu.Lock()
		inside++
		if most = max(most, inside); inside == slots {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		defer func() { mu.Lock(); inside--; mu.Unlock() }()
		select {
		case <-full:
			return graph.Command{}, nil
		case <-ctx.Done():
			return graph.Command{}, context.Cause(ctx)
		}
	}).Edge(graph.Start, "busy").Edge("busy", graph.End).Compile()
	require.NoError(t, err)
	b := setup(t, busy)
	var all []agents.Run
	for range runs {
		all = append(all, b.submit(t, agents.ThreadID(id.New()), "busy", "hello"))
	}
	b.worker(t, nil)
	for _, r := range all {
		require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
	}
	require.Equal(t, slots, most)
}

// A busy worker waits for company, but not for long; a quiet one doesn't.
func TestAClaimWaitsForCompany(t *testing.T) {
	t.Parallel()
	s := run.NewSlots(4)
	require.Zero(t, s.Pause(time.Hour, false))
	require.Zero(t, s.Pause(0, true), "all slots are free")
	taken := []*run.Slot{s.Take()}
	require.Equal(t, time.Millisecond, s.Pause(0, false))
	require.Equal(t, time.Millisecond, s.Pause(0, true))
	for range 3 {
		taken = append(taken, s.Take())
	}
	require.Equal(t, 5*time.Millisecond, s.Pause(0, true))
	require.Equal(t, time.Millisecond, s.Pause(0, false), "nothing waits for a slot")
	require.Zero(t, s.Pause(5*time.Millisecond, true))
	taken[0].Gone()
	require.Equal(t, 3*time.Millisecond, s.Pause(2*time.Millisecond, true))
	taken[1].Ending()
	require.Zero(t, s.Pause(2*time.Millisecond, true), "half of them are free")
}

// A run that a bound holds back begins when one that the bound counts ends, on
// whatever thread: nobody looks for it on a clock.
func TestARunThatABoundHeldBackBeginsWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	g := newGate()
	b := setup(t, g.graph(t))
	bounded, err := store.Open(t.Context(), store.Options{URL: b.url, Bounds: store.Bounds{ExecutingPerPerson: 1}})
	require.NoError(t, err)
	t.Cleanup(bounded.Close)
	for range 2 {
		b.worker(t, func(o *run.Options) {
			o.Store, o.Poll, o.Sweep, o.Runs = bounded, time.Hour, time.Hour, 2
			o.Arrive = func(ctx context.Context, name string) (run.Presence, error) { return bounded.Arrive(ctx, name) }
		})
	}
	first := b.submit(t, agents.ThreadID(id.New()), "gate", "x")
	<-g.entered
	second := b.submit(t, agents.ThreadID(id.New()), "echo", "y")
	g.release(1)
	require.Equal(t, agents.RunSuccess, b.wait(t, first).Status)
	require.Equal(t, agents.RunSuccess, b.wait(t, second).Status)
}
