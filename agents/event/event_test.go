package event_test

import (
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/event"
)

func sample() event.Envelope {
	return event.Envelope{V: event.Version, Seq: 42, Epoch: "e1", Type: event.TextMessageContent,
		Time: time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC), ThreadID: "t", RunID: "r", Attempt: 1, Step: 3, Node: "agent",
		NS: []string{"task:1"}, Data: event.Data(event.TextContentData{MessageID: "m", Delta: "<b> & \u2028 ü 🧵\x00"})}
}

func TestWhatIsComposedIsParsedBack(t *testing.T) {
	t.Parallel()
	want := sample()
	body, err := want.Body()
	require.NoError(t, err)
	payload := event.Compose(42, "e1", body)
	require.Contains(t, string(payload[:60]), `{"v":1,"seq":42,"epoch":"e1","type":"TEXT_MESSAGE_CONTENT"`)
	got, err := event.Parse(payload)
	require.NoError(t, err)
	require.Equal(t, want, got)
	var d event.TextContentData
	require.NoError(t, got.Decode(&d))
	require.Equal(t, "<b> & \u2028 ü 🧵\x00", d.Delta)
}

func TestAnEnvelopeOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{`{"v":2,"seq":1}`, `{"seq":1}`, `[]`, ``, `{"v":1,"seq":"x"}`} {
		_, err := event.Parse([]byte(payload))
		require.Error(t, err, payload)
	}
}

func TestOnlyCustomEnvelopesHaveAName(t *testing.T) {
	t.Parallel()
	e := event.Envelope{Type: event.Custom, Data: event.NewCustom(event.Usage, event.UsageValue{Model: "mock"})}
	name, value := e.CustomName()
	require.Equal(t, event.Usage, name)
	require.JSONEq(t, `{"message_id":"","model":"mock","input_tokens":0,"output_tokens":0,"duration_ms":0}`, string(value))
	e.Type = event.RunStarted
	name, _ = e.CustomName()
	require.Empty(t, name)
	e = event.Envelope{Type: event.Custom, Data: json.RawMessage(`[]`)}
	name, _ = e.CustomName()
	require.Empty(t, name)
}

func FuzzEnvelopes(f *testing.F) {
	f.Add(int64(1), "e", "TEXT_MESSAGE_CONTENT", "thread", "delta")
	f.Add(int64(-1), "\"\x00\xff", "", "\u2028", "}{\\")
	f.Fuzz(func(t *testing.T, seq int64, epoch, typ, thread, delta string) {
		_, _ = event.Parse([]byte(epoch + delta)) // must not panic
		if !utf8.ValidString(typ + "|" + thread + "|" + delta) {
			return // JSON can't hold it; the rules of input keep it out
		}
		e := event.Envelope{Type: event.Type(typ), ThreadID: thread, Data: event.Data(map[string]string{"delta": delta})}
		body, err := e.Body()
		require.NoError(t, err)
		payload := event.Compose(seq, "0190-epoch", body)
		require.True(t, json.Valid(payload), "%s", payload)
		got, err := event.Parse(payload)
		require.NoError(t, err)
		require.Equal(t, seq, got.Seq)
		again, err := got.Body()
		require.NoError(t, err)
		require.Equal(t, string(payload), string(event.Compose(seq, "0190-epoch", again)), "the same bytes every time")
	})
}
