package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/graph/graphtest"
)

const asked = "To bob@example.com: Dear bob@example.com, we ship on Friday.\nSend it? (y, n, or another text) "

func TestAPersonDecides(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, out string }{
		"Yes":         {"y\n", "\nSent: 1\nTo bob@example.com: Dear bob@example.com, we ship on Friday.\n"},
		"No":          {"n\n", "\nSent: 0\n"},
		"AnotherText": {"We ship on Monday.\n", "\nSent: 1\nTo bob@example.com: We ship on Monday.\n"},
		"NobodyThere": {"", "\nSent: 0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			require.NoError(t, run(t.Context(), "", strings.NewReader(c.in), &out))
			require.Equal(t, asked+c.out, out.String())
		})
	}
}

func TestAFileKeepsTheQuestionForALaterProcess(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "letter.db")
	said := func(in string) string {
		var out strings.Builder
		require.NoError(t, run(t.Context(), file, strings.NewReader(in), &out))
		return out.String()
	}
	require.Equal(t, "The letter is written and waits. Run this again to decide.\n", said("y\n"))
	require.Equal(t, asked+"\nSent: 1\nTo bob@example.com: Dear bob@example.com, we ship on Friday.\n", said("y\n"))
	require.Contains(t, said(""), "waits", "the thread takes the next letter")
}

func TestTheQuestionWaitsAcrossARestart(t *testing.T) {
	t.Parallel()
	g, err := build()
	require.NoError(t, err)
	before := graphtest.New(t, g)
	state, err := before.Invoke(t.Context(), thread, graph.Begin(to.Put("mia")))
	require.ErrorAs(t, err, new(*graph.Interrupted))
	require.Len(t, state.Head.Interrupts, 1)
	require.Equal(t, agents.DueNodes("approve"), state.Head.Next)

	g, err = build()
	require.NoError(t, err)
	after := before.Restart(g)
	after.Sink.Clear()
	state, err = after.Invoke(t.Context(), thread, graph.Answer(decision{Send: true}))
	require.NoError(t, err)
	require.Equal(t, []string{"approve", "send"}, after.Sink.Ran(), "write isn't run again")
	require.Equal(t, []letter{{To: "mia", Text: "Dear mia, we ship on Friday."}}, graphtest.Value(t, state, outbox))
	require.Empty(t, state.Head.Next)

	_, err = after.Invoke(t.Context(), thread, graph.Answer(decision{Send: true}))
	require.ErrorIs(t, err, agents.ErrNotInterrupted, "a question is answered once")
}
