package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
)

// pieceRun is the run whose pieces are read.
var pieceRun = agents.Run{ID: "01a21704-6de2-7162-bace-e0747c818679", Thread: "01a21704-6db7-7303-bc1b-e4339b6c31a4", Assistant: "046b5dc7-2108-582c-9c6c-31d556d138f0"}

func piecePayload(t testing.TB, message, text, node string, step int, ns ...string) []byte {
	body, err := event.Envelope{Type: event.TextMessageContent, Time: time.Unix(1, 0), ThreadID: string(pieceRun.Thread), RunID: string(pieceRun.ID),
		Attempt: 1, Step: step, Node: node, NS: ns, Data: event.Data(event.TextContentData{MessageID: message, Delta: text})}.Body()
	require.NoError(t, err)
	return event.Compose(8, "01a21704-6db7-7303-bc1b-e4339b6c31a4", body)
}

// Whichever way a piece is read, its frame says the same.
func TestPiecesAreReadAlikeBothWays(t *testing.T) {
	t.Parallel()
	modes := streamModes{modeTuple: true, modeCustom: true}
	quick := projectOne(newProjector(modes, true, pieceRun, nil), spot{})
	ways := 0
	for _, text := range []string{"token1 ", "two\nlines", `"quoted" \ and {}`, `,"delta":"no"}}`, `"data":{"messageId":"x"`, "<b>&amp;\u2028", "🧶", " "} {
		for _, message := range []string{"00000000-0000-7000-8000-000000000010", `od"d`, "plain", `,"delta":`} {
			for _, at := range []struct {
				node string
				step int
				ns   []string
			}{{"agent", 1, nil}, {"agent", 1, nil}, {"agent", 2, nil}, {"other", 2, nil}, {"inner", 3, []string{"sub:01a21704-6db7-7303-bc1b-e4339b6c31a4"}}, {`"run_id":"`, 3, nil}} {
				payload := piecePayload(t, message, text, at.node, at.step, at.ns...)
				slow := projectOne(newProjector(modes, true, pieceRun, nil), spot{})
				want, _, err := slow(Numbered{Seq: 8, Payload: payload})
				require.NoError(t, err)
				wanted := append([]frame{}, want...)
				got, over, err := quick(Numbered{Seq: 8, Payload: payload})
				require.NoError(t, err)
				require.False(t, over)
				require.Len(t, got, 1)
				require.Equal(t, wanted[0].event, got[0].event)
				require.JSONEq(t, string(wanted[0].data), string(got[0].data))
				ways++
			}
		}
	}
	require.Equal(t, 192, ways)
}

func BenchmarkPiece(b *testing.B) {
	p := newProjector(streamModes{modeTuple: true}, true, pieceRun, nil)
	project := projectOne(p, spot{})
	payload := piecePayload(b, "00000000-0000-7000-8000-000000000010", "token34 ", "stream50", 1)
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		frames, _, err := project(Numbered{Seq: 8, Payload: payload})
		if err != nil || len(frames) != 1 {
			b.Fatal(err, frames)
		}
		out = appendFrame(out[:0], frames[0], "8-2000")
	}
}
