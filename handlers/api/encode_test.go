package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

// TestAStateIsWrittenAsItIsPresented compares the two ways of writing states and
// threads.
func TestAStateIsWrittenAsItIsPresented(t *testing.T) {
	head := func() *agents.Checkpoint {
		return &agents.Checkpoint{ID: "c1", Source: agents.SourceLoop, Step: 3, Next: agents.DueNodes("a", "b"), Metadata: json.RawMessage(`{"as_node":"x"}`),
			Interrupts: []agents.Interrupt{{ID: "i1", Node: "b", Task: 1, Value: json.RawMessage(`{"q":1}`)}}}
	}
	values := map[string]json.RawMessage{"count": json.RawMessage("3"), "_private": json.RawMessage("1"), `odd "name"`: json.RawMessage(`[1, 2]`)}
	one, two := agents.Message{ID: "m1", Role: agents.RoleUser, Text: "<hello>"}, agents.Message{ID: "m2", Role: agents.RoleAssistant, Text: "hi"}
	again := one
	again.Revision, again.Text = 7, "said otherwise"
	e := newEncoder()
	for name, s := range map[string]agents.State{
		"fresh":          {},
		"without values": {Head: head()},
		"with values":    {Head: head(), Values: values},
		"with messages":  {Head: head(), Values: values, Messages: []agents.Message{one, two}},
		"another form":   {Head: head(), Messages: []agents.Message{again, two}},
		"with what is known of a task": {Head: head(), Parent: head(), Pending: []agents.Pending{{Task: 0, Result: &agents.Result{
			Writes: []agents.Change{{Message: &two}, {Channel: "count", Delta: &agents.Delta{Op: agents.DeltaAdd, Value: json.RawMessage("1")}},
				{Channel: "_private", Delta: &agents.Delta{Op: agents.DeltaSet, Value: json.RawMessage("1")}}}}}}},
	} {
		var out bytes.Buffer
		require.NoError(t, e.state(&out, "t", s, selection{}))
		want, err := json.Marshal(presentState("t", s))
		require.NoError(t, err)
		require.JSONEq(t, string(want), out.String(), name)
		thread, err := e.thread(agents.FoundThread{Thread: agents.Thread{ID: "t"}, State: s}, selection{}, false)
		require.NoError(t, err)
		want, err = json.Marshal(presentThread(agents.Thread{ID: "t"}, s))
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(thread), name)
	}
	for names, want := range map[string]string{
		"next":                     `{"next":["a","b"]}`,
		"next,values.count":        `{"next":["a","b"],"values":{"count":3}}`,
		"values._private,values.x": `{"values":{}}`,
		"values.messages":          `{"values":{"messages":[]}}`,
		"nothing":                  `{}`,
	} {
		var out bytes.Buffer
		require.NoError(t, e.state(&out, "t", agents.State{Head: head(), Values: values}, selectionOf(strings.Split(names, ","))))
		require.JSONEq(t, want, out.String(), names)
	}
}

func TestPathsIntoAThread(t *testing.T) {
	thread := agents.FoundThread{Thread: agents.Thread{Metadata: json.RawMessage(`{"a":{"b":[1,[2,3]]},"n":null}`)}, State: agents.State{
		Head: &agents.Checkpoint{}, Values: map[string]json.RawMessage{"plan": json.RawMessage(`["x","y"]`)}, Messages: []agents.Message{{ID: "m1", Role: agents.RoleUser, Text: "hi"}}}}
	for text, want := range map[string]string{
		"metadata.a.b[1][-1]": "3", "metadata.a.b[9]": "null", "metadata.a.b.c": "null", "metadata.n.x": "null", "metadata.a[0]": "null",
		"values.plan[0]": `"x"`, "values.messages[0].content": `"hi"`, "values.messages[-2]": "null", "values.plan": `["x","y"]`, "config": "{}",
	} {
		paths, err := extracts(map[string]string{"it": text})
		require.NoError(t, err, text)
		raw, err := withExtracted(newEncoder(), []byte("{}"), thread, paths)
		require.NoError(t, err, text)
		require.JSONEq(t, `{"extracted":{"it":`+want+`}}`, string(raw), text)
	}
	for _, text := range []string{"", ".", "values.", "[0]", "values[0", "values[x]", "title", "values._private", "metadata a", "values.a..b"} {
		_, err := extracts(map[string]string{"it": text})
		require.Error(t, err, text)
	}
}

func BenchmarkHistoryOfALongThread(b *testing.B) {
	states := make([]agents.State, 10)
	var messages []agents.Message
	for i := range 1000 {
		role := agents.RoleUser
		if i%2 == 1 {
			role = agents.RoleAssistant
		}
		messages = append(messages, agents.Message{ID: agents.MessageID("m" + strconv.Itoa(i)), Role: role, Text: strings.Repeat("x", 130)})
	}
	for i := range states {
		states[i] = agents.State{Messages: messages[:1000-i], Head: &agents.Checkpoint{Source: agents.SourceLoop, CreatedAt: time.Now()}}
	}
	b.ReportAllocs()
	for b.Loop() {
		var out bytes.Buffer
		e := newEncoder()
		if err := list(&out, states, func(s agents.State) error { return e.state(&out, "t", s, selection{}) }); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(out.Len()))
	}
}
