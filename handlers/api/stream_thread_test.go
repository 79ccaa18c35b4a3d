package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

// cutFeed is a feed whose log was cut.
type cutFeed struct{ Feed }

func (cutFeed) Next(context.Context) ([]Numbered, error) { return nil, ErrCut }

// The stream of a thread lasts for days: what it keeps of runs whose end it never
// hears is bounded, and goes when the log was cut.
func TestTheStreamOfAThreadForgetsRunsWhoseEndIsNeverHeard(t *testing.T) {
	t.Parallel()
	all := newThreadProjector(nil, auth.Scope{}, pieceRun.Thread, map[string]bool{wayStates: true})
	seq := int64(0)
	// hear tells whether a run began, in the eyes of the stream.
	hear := func(run int, kind event.Type, data any) bool {
		t.Helper()
		seq++
		body, err := event.Envelope{Type: kind, Time: time.Unix(1, 0), ThreadID: string(pieceRun.Thread), RunID: fmt.Sprintf("01a21704-6de2-7162-bace-%012d", run),
			Attempt: 1, Data: event.Data(data)}.Body()
		require.NoError(t, err)
		frames, over, err := all.project(Numbered{Seq: seq, Payload: event.Compose(seq, "01a21704-6db7-7303-bc1b-e4339b6c31a4", body)})
		require.NoError(t, err)
		require.False(t, over)
		return len(frames) > 0 && frames[0].event == "metadata"
	}
	piece := event.TextContentData{MessageID: "m", Delta: "word"}
	require.True(t, hear(0, event.RunStarted, event.RunStartedData{Line: "l"}))
	for run := 1; run <= 10*maxThreadRuns; run++ {
		require.True(t, hear(run, event.RunStarted, event.RunStartedData{Line: "l"}), "run %d", run)
		require.LessOrEqual(t, len(all.runs), maxThreadRuns)
		require.Len(t, all.heard, len(all.runs))
		require.False(t, hear(0, event.TextMessageContent, piece), "a run that goes on keeps its place")
	}
	require.False(t, hear(10*maxThreadRuns, event.TextMessageContent, piece), "the newest is known")
	require.True(t, hear(1, event.TextMessageContent, piece), "the oldest begins again")
	hear(0, event.RunFinished, event.RunFinishedData{})
	require.Len(t, all.runs, maxThreadRuns-1, "the end frees its place")
	require.Len(t, all.heard, maxThreadRuns-1)

	s := stream{ctx: t.Context(), feed: cutFeed{}, beat: time.Now().Add(heartbeat), cut: all.cut, check: func(context.Context) (*frame, bool) { return nil, false }}
	require.NoError(t, s.wait())
	require.Empty(t, all.runs)
	require.Empty(t, all.heard)
	require.True(t, hear(1, event.TextMessageContent, piece))
}
