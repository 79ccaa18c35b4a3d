package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// subState is a state with what stands in those of its subgraphs.
type subState struct {
	Values struct {
		values
		Plan, Secret, Own, Private any
	}
	Next       []string
	Checkpoint *apiCheckpoint
	Parent     *apiCheckpoint `json:"parent_checkpoint"`
	Metadata   map[string]any
	Interrupts []struct{ Value any }
	Tasks      []struct {
		Name       string
		Error      *string
		Checkpoint *apiCheckpoint
		State      *subState
		Interrupts []struct{ Value any }
	}
}

// lastOf gives the last frame of a name in an answer of server-sent events.
func lastOf(t *testing.T, body, name string, into any) {
	t.Helper()
	var data string
	for _, block := range strings.Split(body, "\n\n") {
		if rest, ok := strings.CutPrefix(block, "event: "+name+"\n"); ok {
			_, data, _ = strings.Cut(rest, "data: ")
			data, _, _ = strings.Cut(data, "\n")
		}
	}
	require.NotEmpty(t, data, "no frame %s in %s", name, body)
	require.NoError(t, json.Unmarshal([]byte(data), into))
}

// mill is a graph with a graph inside a graph, which asks, beside an isolated one that
// asks, too. Each has a channel of its own.
func mill(t *testing.T) *graph.Graph {
	t.Helper()
	plan, secret := graph.Replace[string]("plan"), graph.Replace[string]("secret")
	own, private := graph.Replace[string]("own"), graph.Replace[string]("private")
	says := func(text string, writes ...graph.Write) graph.Node {
		return func(_ context.Context, task *graph.Task) (graph.Command, error) {
			m := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: text, CreatedAt: task.Clock.Now()}
			return graph.Command{Update: append([]graph.Write{graph.AddMessage(m)}, writes...)}, nil
		}
	}
	asks := func(question string) graph.Node {
		return func(_ context.Context, task *graph.Task) (graph.Command, error) {
			answer, err := graph.Ask[string](task, question)
			if err != nil {
				return graph.Command{}, err
			}
			if answer == "break" {
				return graph.Command{}, graph.Fail("It broke at " + question)
			}
			return graph.Command{}, nil
		}
	}
	child := func(name string, b *graph.Builder) *graph.Graph {
		g, err := b.Edge(graph.Start, "begin").Edge("begin", "ask").Edge("ask", graph.End).Compile()
		require.NoError(t, err, name)
		return g
	}
	deep := child("deep", graph.New("deep").Channels(plan, own).Node("begin", says("deep inside", own.Put("deep"))).Node("ask", asks("deep?")))
	shared := child("shared", graph.New("shared").Channels(plan).Node("begin", says("inside", plan.Put("changed"))).Subgraph("ask", deep))
	alone := child("alone", graph.New("alone").Channels(private).Node("begin", says("apart", private.Put("mine"))).Node("ask", asks("apart?")))
	g, err := graph.New("mill").Channels(plan, secret).
		Node("first", says("outside", plan.Put("made"), secret.Put("of the mill"))).Subgraph("shared", shared).
		Isolated("alone", alone, func(graph.State, *graph.Task) ([]graph.Write, error) { return nil, nil },
			func(graph.State) ([]graph.Write, error) { return nil, nil }).
		Edge(graph.Start, "first").Edge("first", "shared").Edge("first", "alone").Edge("shared", graph.End).Edge("alone", graph.End).Compile()
	require.NoError(t, err)
	return g
}

func TestAStateShowsThoseOfItsSubgraphs(t *testing.T) {
	t.Parallel()
	mia, other, gia := newClients(t, testweb.Options{Graphs: []*graph.Graph{mill(t)}})
	thread := mia.thread(nil).ID
	at := "/threads/" + thread
	streamed := mia.want(http.StatusOK, "POST", at+"/runs/stream", obj{"assistant_id": "mill", "input": say("go"), "stream_subgraphs": true,
		"stream_mode": []string{"values", "checkpoints"}}, nil).Body
	get := func(path string, body any) subState {
		t.Helper()
		var s subState
		method := "GET"
		if body != nil {
			method = "POST"
		}
		mia.want(http.StatusOK, method, at+path, body, &s)
		return s
	}
	plain, whole := get("/state", nil), get("/state?subgraphs=true", nil)
	require.Equal(t, []string{"human: go", "ai: outside"}, plain.Values.texts(), "what happens inside is merged at its end")
	require.Equal(t, "of the mill", plain.Values.Secret)
	require.Len(t, plain.Tasks, 2)
	require.Equal(t, plain.Checkpoint, whole.Checkpoint)
	for i, task := range plain.Tasks {
		require.Nil(t, task.State)
		require.Regexp(t, "^"+task.Name+":[0-9a-f-]{36}$", task.Checkpoint.NS)
		require.Equal(t, thread, task.Checkpoint.Thread)
		require.Empty(t, task.Checkpoint.ID)
		require.Len(t, task.Interrupts, 1)
		sub := whole.Tasks[i]
		require.Nil(t, sub.Checkpoint, "its state stands there instead")
		require.Equal(t, task.Checkpoint.NS, sub.State.Checkpoint.NS)
		require.Equal(t, []string{"ask"}, sub.State.Next)
		require.Equal(t, task.Interrupts, sub.State.Interrupts)
		require.Equal(t, task.Interrupts, sub.State.Tasks[0].Interrupts)
		require.NotEmpty(t, sub.State.Metadata["run_id"])
		var frame subState
		lastOf(t, streamed, "values|"+task.Checkpoint.NS, &frame.Values)
		require.Equal(t, sub.State.Values, frame.Values, "as its stream said")
		lastOf(t, streamed, "checkpoints|"+task.Checkpoint.NS, &frame)
		require.Equal(t, sub.State.Checkpoint, frame.Checkpoint)
		require.Equal(t, sub.State.Parent, frame.Parent)

		// By its name it is the same, and so by its checkpoint's id.
		named := obj{"checkpoint": obj{"checkpoint_ns": task.Checkpoint.NS, "thread_id": thread}, "subgraphs": true}
		require.Equal(t, *sub.State, get("/state/checkpoint", named))
		named["checkpoint"] = sub.State.Checkpoint
		require.Equal(t, *sub.State, get("/state/checkpoint", named))
		require.Equal(t, *sub.State, get("/state?subgraphs=true&checkpoint_ns="+task.Checkpoint.NS, nil))
		require.Equal(t, *sub.State, get("/state/"+sub.State.Checkpoint.ID+"?subgraphs=true&checkpoint_ns="+task.Checkpoint.NS, nil))
		mia.want(http.StatusNotFound, "GET", at+"/state/"+plain.Checkpoint.ID+"?checkpoint_ns="+task.Checkpoint.NS, nil, nil)
		mia.want(http.StatusNotFound, "GET", at+"/state/"+sub.State.Checkpoint.ID, nil, nil)
		for _, stranger := range []keyholder{other, gia} {
			stranger.want(http.StatusNotFound, "GET", at+"/state?checkpoint_ns="+task.Checkpoint.NS, nil, nil)
			stranger.want(http.StatusNotFound, "POST", at+"/history", obj{"checkpoint": obj{"checkpoint_ns": task.Checkpoint.NS}}, nil)
		}
		elsewhere := mia.thread(nil).ID
		mia.want(http.StatusNotFound, "GET", "/threads/"+elsewhere+"/state?checkpoint_ns="+task.Checkpoint.NS, nil, nil)
		mia.refused("POST", at+"/state", obj{"values": say("x"), "checkpoint": sub.State.Checkpoint}, "checkpoint.checkpoint_ns", "must be empty")
		mia.refused("POST", at+"/runs", obj{"assistant_id": "mill", "input": say("x"), "checkpoint": sub.State.Checkpoint}, "checkpoint.checkpoint_ns", "must be empty")

		// Its history is that of its own line.
		var all []subState
		mia.want(http.StatusOK, "POST", at+"/history", obj{"checkpoint": obj{"checkpoint_ns": task.Checkpoint.NS}}, &all)
		require.GreaterOrEqual(t, len(all), 2)
		require.Equal(t, sub.State.Checkpoint, all[0].Checkpoint)
		for n, s := range all {
			require.Equal(t, task.Checkpoint.NS, s.Checkpoint.NS)
			if n > 0 {
				require.Equal(t, s.Checkpoint, all[n-1].Parent)
			}
		}
		require.Nil(t, all[len(all)-1].Parent, "what it stands on is not of its line")
		var older []subState
		mia.want(http.StatusOK, "POST", at+"/history", obj{"checkpoint": obj{"checkpoint_ns": task.Checkpoint.NS}, "before": all[0].Checkpoint.ID, "limit": 1}, &older)
		require.Equal(t, all[1:2], older)
		mia.want(http.StatusOK, "GET", at+"/history?limit=1&checkpoint_ns="+task.Checkpoint.NS, nil, &older)
		require.Equal(t, all[:1], older)
	}
	byName := map[string]*subState{}
	for _, task := range whole.Tasks {
		byName[task.Name] = task.State
	}
	shared, alone := byName["shared"], byName["alone"]
	require.Equal(t, []string{"human: go", "ai: outside", "ai: inside"}, shared.Values.texts())
	require.Equal(t, "changed", shared.Values.Plan)
	require.Equal(t, "made", whole.Values.Plan)
	require.Nil(t, shared.Values.Secret, "a channel that it does not have")
	require.Equal(t, []string{"ai: apart"}, alone.Values.texts(), "nothing of what is around")
	require.Equal(t, "mine", alone.Values.Private)
	require.Nil(t, alone.Values.Plan)
	deep := shared.Tasks[0].State
	require.Equal(t, []string{"human: go", "ai: outside", "ai: inside", "ai: deep inside"}, deep.Values.texts())
	require.Equal(t, "deep", deep.Values.Own)
	require.Equal(t, "changed", deep.Values.Plan)
	require.Equal(t, "deep?", deep.Tasks[0].Interrupts[0].Value)
	require.Equal(t, shared.Checkpoint.NS+"|ask:", deep.Checkpoint.NS[:len(shared.Checkpoint.NS)+5])
	nested := get("/state?checkpoint_ns="+shared.Checkpoint.NS, nil)
	require.Nil(t, nested.Tasks[0].State)
	require.Equal(t, deep.Checkpoint.NS, nested.Tasks[0].Checkpoint.NS)

	for _, unknown := range []string{"shared", "shared:x", "shared:" + id.New(), deep.Checkpoint.NS[len(shared.Checkpoint.NS)+1:], shared.Checkpoint.NS + "|", "|" + shared.Checkpoint.NS,
		"other" + shared.Checkpoint.NS[len("shared"):]} {
		mia.want(http.StatusNotFound, "POST", at+"/state/checkpoint", obj{"checkpoint": obj{"checkpoint_ns": unknown}}, nil)
		mia.want(http.StatusNotFound, "POST", at+"/history", obj{"checkpoint": obj{"checkpoint_ns": unknown}}, nil)
	}

	// One of them fails when it is answered. Whether the other is through by then is open.
	answers := obj{}
	var of apiThread
	mia.want(http.StatusOK, "GET", at, nil, &of)
	for _, task := range of.Interrupts {
		for _, i := range task.([]any) {
			open := i.(map[string]any)
			answers[open["id"].(string)] = map[any]string{"deep?": "break", "apart?": "fine"}[open["value"]]
		}
	}
	mia.want(http.StatusOK, "POST", at+"/runs/wait", obj{"assistant_id": "mill", "command": obj{"resume": answers}}, nil)
	broken := get("/state?subgraphs=true", nil)
	require.Equal(t, []string{"alone", "shared"}, []string{broken.Tasks[0].Name, broken.Tasks[1].Name})
	require.Nil(t, broken.Tasks[0].Error)
	require.Equal(t, "It broke at deep?", toldBy(t, *broken.Tasks[1].Error))
	inner := broken.Tasks[1].State
	require.Equal(t, deep.Values, inner.Tasks[0].State.Values)
	require.Equal(t, "It broke at deep?", toldBy(t, *inner.Tasks[0].Error))
	require.Equal(t, "It broke at deep?", toldBy(t, *inner.Tasks[0].State.Tasks[0].Error))
	require.Nil(t, get("/state", nil).Tasks[1].State)

	// Once they are through, nothing is under way; their lines can still be named.
	mia.want(http.StatusOK, "POST", at+"/runs/wait", obj{"assistant_id": "mill", "command": obj{"goto": "__end__"}}, nil)
	require.Empty(t, get("/state?subgraphs=true", nil).Tasks)
	require.Equal(t, deep.Values, get("/state?checkpoint_ns="+deep.Checkpoint.NS, nil).Values)
}
