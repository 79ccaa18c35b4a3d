package graphtest_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph/graphtest"
)

func TestASinkKeepsTheNewest(t *testing.T) {
	t.Parallel()
	var sink graphtest.Sink
	const told = 2*graphtest.Kept + 5
	for i := range told {
		sink.Add(event.Envelope{Seq: int64(i)})
		if i == graphtest.Kept {
			require.Equal(t, 1, sink.Lost())
			require.Len(t, sink.Snapshot(), graphtest.Kept)
		}
	}
	kept := sink.Snapshot()
	require.Len(t, kept, graphtest.Kept)
	require.Equal(t, told-graphtest.Kept, sink.Lost())
	require.EqualValues(t, told-graphtest.Kept, kept[0].Seq)
	require.EqualValues(t, told-1, kept[len(kept)-1].Seq)
	sink.Clear()
	require.Empty(t, sink.Snapshot())
	require.Zero(t, sink.Lost())
}

func TestASinkHearsSeveralRunsAtOnce(t *testing.T) {
	t.Parallel()
	var sink graphtest.Sink
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				sink.Add(event.Envelope{Type: event.StepStarted, Node: "n"})
				sink.Snapshot()
			}
		})
	}
	all.Wait()
	require.Len(t, sink.Ran(), 800)
}

func TestASinkLeavesOutWhatWasTakenBack(t *testing.T) {
	t.Parallel()
	var sink graphtest.Sink
	say := func(id, text string) {
		sink.Add(event.Envelope{Type: event.TextMessageStart, Data: event.Data(event.TextStartData{MessageID: id})})
		sink.Add(event.Envelope{Type: event.TextMessageContent, Data: event.Data(event.TextContentData{MessageID: id, Delta: text})})
	}
	say("a", "first try")
	sink.Add(event.Envelope{Type: event.Custom, Data: event.NewCustom(event.MessagesDiscarded, event.DiscardedValue{Discarded: []string{"a"}})})
	say("b", "other")
	say("a", "second try")
	require.Equal(t, []string{"other", "second try"}, sink.Texts())
	require.Len(t, sink.Custom(event.MessagesDiscarded), 1)
	require.Empty(t, sink.Custom(event.GraphCustom))
}
