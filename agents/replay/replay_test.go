package replay_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/replay"
	"github.com/heddle/heddle/agents/replay/replaytest"
)

// recording reads one that was made on a server, see app/replay_test.go.
func recording(t *testing.T, name string) replay.Recording {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	r, err := replay.Parse(raw)
	require.NoError(t, err)
	return r
}

func graphs(t *testing.T, p replaytest.Parts) replay.Options {
	t.Helper()
	all, err := replaytest.Graphs(p)
	require.NoError(t, err)
	development, err := prebuilt.Development()
	require.NoError(t, err)
	return replay.Options{Graphs: append(development, all...)}
}

func again(t *testing.T, r replay.Recording, p replaytest.Parts) replay.Report {
	t.Helper()
	report, err := replay.Again(t.Context(), r, graphs(t, p))
	require.NoError(t, err)
	return report
}

func TestEveryRecordingIsReplayed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 20)
	seen := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			r := recording(t, name)
			for _, e := range r.Events {
				seen[e.Key()] = true
			}
			report := again(t, r, replaytest.Parts{})
			require.True(t, report.Same(), report.String())
			require.NotZero(t, report.Events[0])
			require.Equal(t, report.Events[0], report.Events[1])
			require.Equal(t, report.State[0], report.State[1])
			for _, note := range report.Notes {
				require.NotContains(t, note, "not in the recording")
			}
		})
	}
	for _, key := range []string{string(event.RunContinued), string(event.MessagesDiscarded), string(event.ReviewRequested), string(event.ReviewDecided),
		string(event.ToolCallResult), string(event.RunError), string(event.GraphCustom)} {
		require.True(t, seen[key], "no recording has %s", key)
	}
}

func TestARecordingIsReplayedTheSameEachTime(t *testing.T) {
	r := recording(t, "fanout")
	first := again(t, r, replaytest.Parts{})
	for range 20 {
		require.Equal(t, first, again(t, r, replaytest.Parts{}))
	}
}

func TestAChangedReducerIsNoticedThoughItsLabelStays(t *testing.T) {
	r := recording(t, "fanout")
	report := again(t, r, replaytest.Parts{Tally: func(old, in replaytest.Tally) replaytest.Tally {
		sum := replaytest.Add(old, in)
		sum.Count++
		return sum
	}})
	require.False(t, report.Same())
	require.Empty(t, report.Notes, "the declaration is the same")
	require.Equal(t, "run 1, step 2, node report", report.Difference.Where)
	require.Contains(t, report.Difference.Sides[0], "24 letters")
	require.Contains(t, report.Difference.Sides[1], "29 letters")
	require.Contains(t, report.String(), "first difference: run 1, step 2, node report")
}

func TestAnotherOrderOfMergingIsNoticed(t *testing.T) {
	// Only the order in which the same tasks are merged is another one.
	report := again(t, recording(t, "fanout"), replaytest.Parts{Words: func(text string) []string {
		words := strings.Fields(text)
		slices.Reverse(words)
		return words
	}})
	require.False(t, report.Same())
	require.Equal(t, "run 1, step 2, node report", report.Difference.Where)
	// Two siblings have changed places: all that is told is the same, and only the
	// state shows it.
	put := func(which string) graph.Node {
		return func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{graph.Append[string]("trail").Put([]string{which})}}, nil
		}
	}
	report = again(t, recording(t, "loom"), replaytest.Parts{Warp: put("weft"), Weft: put("warp")})
	require.False(t, report.Same())
	require.Equal(t, "the final state", report.Difference.Where)
	require.Equal(t, [2]string{`channel trail ["warp","weft"]`, `channel trail ["weft","warp"]`}, report.Difference.Sides)
}

func TestWhatTheRecordingLacksOrHasMoreOfIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		of     string
		change func(*replay.Recording)
		where  string
	}{
		"another tool result": {"tool", func(r *replay.Recording) {
			for i, e := range r.Events {
				if e.Type == event.ToolCallResult {
					r.Events[i].Data = json.RawMessage(strings.ReplaceAll(string(e.Data), "391", "392"))
				}
			}
		}, "the final state"},
		"a call that was not made": {"tools", func(r *replay.Recording) {
			r.Events = slices.DeleteFunc(r.Events, func(e event.Envelope) bool {
				return e.Type == event.ToolCallResult && strings.Contains(string(e.Data), "Oslo")
			})
		}, "run 1, step 2, node tools"},
		"a message less": {"answer", func(r *replay.Recording) { r.State.Messages = r.State.Messages[:1] }, "the final state"},
		"a message that was not told": {"answer", func(r *replay.Recording) {
			r.Events = slices.DeleteFunc(r.Events, func(e event.Envelope) bool { return strings.HasPrefix(string(e.Type), "TEXT_") })
		}, "run 1, step 1, node agent / run 1"},
		"other words": {"answer", func(r *replay.Recording) { r.State.Messages[1].Text += "!" }, "the final state"},
		"a channel more": {"answer", func(r *replay.Recording) {
			r.State.Values = map[string]json.RawMessage{"mood": json.RawMessage(`"fine"`)}
		}, "the final state"},
		"a step more": {"tool", func(r *replay.Recording) {
			// The recording ends after the tool, without the model's last word.
			at := slices.IndexFunc(r.Events, func(e event.Envelope) bool { return e.Step == 3 && e.Type == event.StepStarted })
			r.Events = append(r.Events[:at:at], r.Events[len(r.Events)-1])
		}, "run 1"},
		"another decision": {"approved", func(r *replay.Recording) {
			for i, e := range r.Events {
				if e.Key() == string(event.ReviewDecided) {
					r.Events[i].Data = json.RawMessage(strings.ReplaceAll(string(e.Data), "approved", "rejected"))
				}
			}
		}, "run 2, step 4, node tools"},
		"another answer": {"painted", func(r *replay.Recording) {
			red := `"red"`
			r.Runs[1].Resume.Answers[0].JSON = &red
		}, "run 2, step 3, node paint"},
		"no tries": {"diary", func(r *replay.Recording) { r.Runs = r.Runs[:1] }, "run 2, step 3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := recording(t, c.of)
			c.change(&r)
			report := again(t, r, replaytest.Parts{})
			require.False(t, report.Same(), report.String())
			require.Equal(t, c.where, report.Difference.Where, report.String())
		})
	}
}

// Siblings tell in any order; a recording whose siblings came in another one is
// the same recording.
func TestHowSiblingsInterleaveMakesNoDifference(t *testing.T) {
	for _, name := range []string{"fanout", "lost-fanout", "tools"} {
		moved := false
		for _, sign := range []int{1, -1} {
			r := recording(t, name)
			for from := 0; from < len(r.Events); from++ {
				to := from
				for to < len(r.Events) && !fixed(r.Events[to]) {
					to++
				}
				some := r.Events[from:to]
				was := slices.Clone(some)
				slices.SortStableFunc(some, func(a, b event.Envelope) int { return sign * strings.Compare(teller(a), teller(b)) })
				moved = moved || !slices.EqualFunc(some, was, func(a, b event.Envelope) bool { return a.Seq == b.Seq })
				from = max(from, to-1)
			}
			report := again(t, r, replaytest.Parts{})
			require.True(t, report.Same(), "%s: %s", name, report)
		}
		require.True(t, moved, "nothing of %s came in another order", name)
	}
}

// fixed are events that siblings can't tell before or after.
func fixed(e event.Envelope) bool {
	return e.Node == "" || e.Type == event.StepStarted || e.Type == event.StepFinished || e.Node == "agent"
}

// teller is which message, call or node an event is of.
func teller(e event.Envelope) string {
	var d struct{ MessageID, ToolCallID string }
	_ = json.Unmarshal(e.Data, &d)
	if e.Node == "count" || e.Node == "tools" {
		return e.Node + d.MessageID + d.ToolCallID
	}
	return e.Node
}

func TestAnInterruptedRunIsHeldAgainstOneThatWasNot(t *testing.T) {
	for _, pair := range [][2]string{
		{"lost-answer", "long-answer"}, {"lost-fanout", "fanout"}, {"painted", "painted-at-once"}, {"subgraphs", "subgraphs-at-once"},
		{"summary", "summary"}, {"lost-subgraph", "relay"},
	} {
		report := replay.Compare(recording(t, pair[0]), recording(t, pair[1]))
		require.True(t, report.Same(), "%v: %s", pair, report)
		require.Equal(t, report.Events[0], report.Events[1])
	}
	for _, pair := range [][2]string{{"tool", "tools"}, {"approved", "edited"}, {"approved", "rejected"}, {"answer", "long-answer"}, {"loom", "fanout"}} {
		report := replay.Compare(recording(t, pair[0]), recording(t, pair[1]))
		require.False(t, report.Same(), "%v", pair)
	}
	other := recording(t, "painted")
	other.State.Values["done"] = json.RawMessage(`["sanded","painted blue"]`)
	report := replay.Compare(other, recording(t, "painted-at-once"))
	require.Equal(t, "the final state", report.Difference.Where)
	require.Equal(t, `channel done ["sanded","painted blue"]`, report.Difference.Sides[0])
}

// A task of a fan that had told everything when its worker was lost, and was not
// kept, is executed again beside siblings that are not.
func TestATaskOfAFanThatWasExecutedTwiceCountsOnce(t *testing.T) {
	r := recording(t, "lost-fanout")
	at := slices.IndexFunc(r.Events, func(e event.Envelope) bool { return e.Key() == string(event.RunContinued) })
	start := at - 1
	for r.Events[start].Node != "count" || r.Events[start].Type != event.StepStarted {
		start--
	}
	twice := slices.DeleteFunc(slices.Clone(r.Events[start:at]), func(e event.Envelope) bool { return e.Node != "count" })
	first := messageOf(twice[2])
	require.NotEmpty(t, first)
	var second []event.Envelope
	for _, e := range twice {
		e.Attempt, e.Data = 2, json.RawMessage(strings.ReplaceAll(string(e.Data), first, anew))
		second = append(second, e)
	}
	require.Len(t, second, 6)
	r.Events[at].Data = event.NewCustom(event.RunContinued, event.ContinuedValue{Attempt: 2, Discarded: append(discarded(t, r.Events[at]), first)})
	r.Events = slices.Insert(r.Events, at+1, second...)
	for i, m := range r.State.Messages {
		if string(m.ID) == first {
			r.State.Messages[i].ID = anew
		}
	}
	report := again(t, r, replaytest.Parts{})
	require.True(t, report.Same(), report.String())
	// Without what says that the first was void, it is a difference.
	r.Events[at].Data = event.NewCustom(event.RunContinued, event.ContinuedValue{Attempt: 2, Discarded: []string{}})
	require.False(t, again(t, r, replaytest.Parts{}).Same())
}

const anew = "0193ffff-0000-7000-8000-00000000000a"

func messageOf(e event.Envelope) string {
	var d struct{ MessageID string }
	_ = json.Unmarshal(e.Data, &d)
	return d.MessageID
}

func discarded(t *testing.T, e event.Envelope) []string {
	t.Helper()
	var d event.ContinuedValue
	_, value := e.CustomName()
	require.NoError(t, json.Unmarshal(value, &d))
	return d.Discarded
}

// Servers before this version also took back what finished siblings had said.
func TestWhatWasTakenBackThoughItStandsCounts(t *testing.T) {
	r := recording(t, "lost-fanout")
	at := slices.IndexFunc(r.Events, func(e event.Envelope) bool { return e.Key() == string(event.RunContinued) })
	all := discarded(t, r.Events[at])
	for _, m := range r.State.Messages {
		all = append(all, string(m.ID))
	}
	r.Events[at].Data = event.NewCustom(event.RunContinued, event.ContinuedValue{Attempt: 2, Discarded: all})
	report := again(t, r, replaytest.Parts{})
	require.True(t, report.Same(), report.String())
}

func TestARecordingIsWrittenAndReadWithoutLoss(t *testing.T) {
	r := recording(t, "question")
	raw, err := r.Encode()
	require.NoError(t, err)
	kept, err := os.ReadFile(filepath.Join("testdata", "question.json"))
	require.NoError(t, err)
	require.Equal(t, string(kept), string(raw))
}

func TestWhatCannotBeReplayedIsRefused(t *testing.T) {
	for says, change := range map[string]func(*replay.Recording){
		"does not reach back": func(r *replay.Recording) { r.Events = r.Events[1:] },
		"has not ended":       func(r *replay.Recording) { r.Events = r.Events[:len(r.Events)-1] },
		"client changed the thread": func(r *replay.Recording) {
			r.Events = append(r.Events, event.Envelope{Seq: 99, Type: event.MessagesSnapshot, Data: json.RawMessage(`{"messages":[]}`)})
		},
		"somebody stopped it": func(r *replay.Recording) {
			last := &r.Events[len(r.Events)-1]
			last.Data = json.RawMessage(strings.ReplaceAll(string(last.Data), "success", "cancelled"))
		},
		"changed or forked": func(r *replay.Recording) {
			r.Events = append(r.Events, event.Envelope{Seq: 99, Type: event.Custom, Data: event.NewCustom(event.CheckpointMade, event.CheckpointValue{Source: "update"})})
		},
		"under way when its server died": func(r *replay.Recording) {
			r.Events = append(r.Events, event.Envelope{Seq: 99, Type: event.Custom, Data: event.NewCustom(event.ReviewRequested,
				event.RequestedValue{Value: json.RawMessage("1"), Reviews: []event.RequestValue{{Rule: "unknown outcome"}}})})
		},
		"failed in mid-answer": func(r *replay.Recording) {
			last := &r.Events[len(r.Events)-1]
			last.Type, last.Data = event.RunError, json.RawMessage(`{"code":"node_failed","message":"away"}`)
		},
		"needs a graph":   func(r *replay.Recording) { r.Graph.Name = "" },
		"its format is 2": func(r *replay.Recording) { r.Format = 2 },
	} {
		r := recording(t, "answer")
		change(&r)
		raw, err := r.Encode()
		require.NoError(t, err)
		_, err = replay.Parse(raw)
		require.ErrorContains(t, err, says)
	}
	_, err := replay.Parse([]byte("{"))
	require.ErrorContains(t, err, "reading a recording")
	r := recording(t, "fanout")
	_, err = replay.Again(t.Context(), r, replay.Options{})
	require.ErrorIs(t, err, replay.ErrUnknownGraph)
	r.Graph.Hash = "another"
	report := again(t, r, replaytest.Parts{})
	require.True(t, report.Same())
	require.Contains(t, report.String(), "note: the declaration of the graph is not the one that was recorded")
}

func TestNobodysIdIsInARecording(t *testing.T) {
	r, err := replay.Record(replay.Source{
		Name: "who", Assistant: agents.Assistant{ID: "a", Version: 1, Graph: "echo"},
		Runs: []agents.Run{{ID: "r", Assistant: "a", AssistantVersion: 1, User: "0193aaaa-0000-7000-8000-000000000001",
			Input: agents.RunInput{Messages: []agents.Message{{ID: "m", Role: agents.RoleUser, Author: "0193aaaa-0000-7000-8000-000000000001"}}}}},
		Events: []event.Envelope{
			{Seq: 1, Type: event.RunStarted, RunID: "r", Data: json.RawMessage(`{}`)},
			{Seq: 2, Type: event.Custom, RunID: "r", Data: event.NewCustom(event.ReviewDecided, event.DecidedValue{By: "0193aaaa-0000-7000-8000-000000000002"})},
			{Seq: 3, Type: event.RunFinished, RunID: "r", Data: json.RawMessage(`{"outcome":"success"}`)},
		},
		State: agents.State{Values: map[string]json.RawMessage{"__reducers": json.RawMessage(`{}`), "_own": json.RawMessage(`1`), "open": json.RawMessage(`2`)}},
	})
	require.NoError(t, err)
	raw, err := r.Encode()
	require.NoError(t, err)
	require.NotContains(t, string(raw), "0193aaaa")
	require.Equal(t, "00000000-0000-4000-8000-000000000001", r.Runs[0].Messages[0].Author)
	require.Contains(t, string(raw), "00000000-0000-4000-8000-000000000002")
	require.Len(t, r.State.Values, 2)
}
