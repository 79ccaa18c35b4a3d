package app_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

// values are a thread's values as the API gives them.
type values struct {
	Messages []struct {
		ID      string `json:"id"`
		Type    string `json:"type"`
		Content string `json:"content"`
	} `json:"messages"`
	Failure *struct {
		Error, Message string
	} `json:"__error__"`
}

func (v values) texts() []string {
	var out []string
	for _, m := range v.Messages {
		out = append(out, m.Type+": "+m.Content)
	}
	return out
}

// stateOf reads a thread's values by API.
func stateOf(t *testing.T, s *testweb.Site, key, thread string) values {
	t.Helper()
	a := s.API(key, "GET", "/api/threads/"+thread+"/state", nil)
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	var state struct {
		Values values `json:"values"`
	}
	a.JSON(t, &state)
	return state.Values
}

// dense checks that numbers follow each other from after+1 on.
func dense(t *testing.T, after int64, got []event.Envelope) {
	t.Helper()
	for i, e := range got {
		require.Equal(t, after+int64(i)+1, e.Seq, "number %d of the envelopes after %d", i, after)
		require.Equal(t, got[0].Epoch, e.Epoch)
	}
}

func types(got []event.Envelope) string {
	var out []string
	for _, e := range got {
		name := string(e.Type)
		if custom, _ := e.CustomName(); custom != "" {
			name = string(custom)
		}
		if len(out) == 0 || out[len(out)-1] != name {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

func TestAMessageOfAFormGetsItsAnswerOnPageSocketAndAPI(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	key := s.Key("acme", "mia@acme.test")
	thread := s.NewThread(mia, "count to 30")
	k := s.Dial(mia)
	k.Join("thread:"+thread, map[string]any{"after": 0})
	got := k.Envelopes("thread:"+thread, testweb.RunEnds)
	dense(t, 0, got)
	require.Equal(t, "message.queued RUN_STARTED checkpoint STEP_STARTED TEXT_MESSAGE_START TEXT_MESSAGE_CONTENT TEXT_MESSAGE_END "+
		"usage STEP_FINISHED checkpoint RUN_FINISHED", types(got))
	answer := testweb.Text(got)
	require.Contains(t, answer, "29, 30")
	require.Contains(t, s.Page(mia, "/threads/"+thread).Text("#messages"), strings.Join(strings.Fields(answer), " "))
	require.Equal(t, []string{"human: count to 30", "ai: " + answer}, stateOf(t, s.Site, key, thread).texts())

	// The message on the page, in the log and in the API is the same one.
	var started event.TextStartData
	for _, e := range got {
		if e.Type == event.TextMessageStart {
			require.NoError(t, e.Decode(&started))
		}
	}
	require.Equal(t, started.MessageID, stateOf(t, s.Site, key, thread).Messages[1].ID)
	require.Equal(t, 1, s.Page(mia, "/threads/"+thread).Find("#message-"+started.MessageID).Length())

	// A call that waits gets the same thread's values.
	a := s.API(key, "POST", "/api/threads/"+thread+"/runs/wait", map[string]any{"assistant_id": "echo",
		"input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "again"}}}})
	require.Equal(t, http.StatusOK, a.Status)
	var waited values
	a.JSON(t, &waited)
	require.Equal(t, []string{"human: again", "ai: echo: again"}, waited.texts()[2:])
	require.Equal(t, waited, stateOf(t, s.Site, key, thread))
}

func TestAClientThatWasCutOffHasTheWholeTextAndNoNumberTwice(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{gate}})
	mia := s.SignIn("mia@acme.test")
	thread := startOn(t, s, mia, "gate", "go")
	topic := "thread:" + thread
	k := s.Dial(mia)
	k.Join(topic, map[string]any{"after": 0})
	gates.write(thread, "one ")
	got := k.Envelopes(topic, func(e event.Envelope) bool { return e.Type == event.TextMessageContent })
	last := got[len(got)-1]
	k.Close()
	gates.write(thread, "two ", "three ") // nobody hears it

	k = s.Dial(mia)
	k.Join(topic, map[string]any{"after": last.Seq, "epoch": last.Epoch})
	gates.write(thread, "four")
	gates.end(thread)
	rest := k.Envelopes(topic, testweb.RunEnds)
	dense(t, 0, append(got, rest...))
	require.Equal(t, "one two three four", testweb.Text(append(got, rest...)))

	k = s.Dial(mia)
	k.Join(topic, map[string]any{"after": 0})
	require.Equal(t, append(got, rest...), k.Envelopes(topic, testweb.RunEnds), "the log says what was said live")
}

// startOn begins a thread with an assistant of a graph.
func startOn(t *testing.T, s *testweb.Server, c *http.Client, graph, text string) string {
	t.Helper()
	a := s.Post(c, "/threads", url.Values{"message": {text}, "assistant_id": {graph}})
	thread, ok := strings.CutPrefix(a.Path, "/threads/")
	require.True(t, ok && a.Status == http.StatusOK, "%d at %s", a.Status, a.Path)
	return thread
}

func TestStopEndsTheServersRunAndKeepsTheText(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{gate}})
	mia := s.SignIn("mia@acme.test")
	key := s.Key("acme", "mia@acme.test")
	for name, stop := range map[string]func(thread string, k *testweb.Socket, join string){
		"ByForm": func(thread string, _ *testweb.Socket, _ string) {
			require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/cancel", nil).Status)
		},
		"ByPush": func(thread string, k *testweb.Socket, join string) {
			require.Equal(t, "ok", k.Push(join, "thread:"+thread, "cancel", map[string]any{}).Status)
		},
		"ByAPI": func(thread string, _ *testweb.Socket, _ string) {
			open, err := s.App.Database().OpenRuns(t.Context(), s.Scope("acme", "mia@acme.test"), threadID(thread))
			require.NoError(t, err)
			run := "/api/threads/" + thread + "/runs/" + string(open[0].ID)
			require.Equal(t, http.StatusNoContent, s.API(key, "POST", run+"/cancel?wait=1", nil).Status)
			require.Contains(t, s.API(key, "GET", run, nil).Body, `"status":"interrupted"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			thread := startOn(t, s, mia, "gate", "go")
			k := s.Dial(mia)
			join := k.Join("thread:"+thread, map[string]any{"after": 0})
			gates.write(thread, "Half an ", "answer")
			k.Envelopes("thread:"+thread, func(e event.Envelope) bool { return e.Type == event.TextMessageContent })
			stop(thread, k, join)
			got := k.Envelopes("thread:"+thread, testweb.RunEnds)
			var d event.RunFinishedData
			require.NoError(t, got[len(got)-1].Decode(&d))
			require.Equal(t, event.OutcomeCancelled, d.Outcome)
			require.Equal(t, []string{"human: go", "ai: Half an answer"}, stateOf(t, s.Site, key, thread).texts())
			page := s.Page(mia, "/threads/"+thread)
			require.Contains(t, page.Text("#messages"), "Half an answer")
			require.False(t, page.Busy())
		})
	}
}

func TestMessagesThatWaitAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{gate}})
	mia := s.SignIn("mia@acme.test")
	key := s.Key("acme", "mia@acme.test")
	thread := startOn(t, s, mia, "gate", "first")
	k := s.Dial(mia)
	join := k.Join("thread:"+thread, map[string]any{"after": 0})
	gates.write(thread, "1")
	// By form, by socket, by API: one line.
	s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {"second"}})
	require.Equal(t, "ok", k.Push(join, "thread:"+thread, "send", map[string]any{"text": "third"}).Status)
	a := s.API(key, "POST", "/api/threads/"+thread+"/runs", map[string]any{"assistant_id": "gate",
		"input": map[string]any{"messages": "fourth"}})
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	require.Contains(t, a.Body, `"status":"pending"`)
	require.Equal(t, []string{"second", "third", "fourth"}, queued(s.Page(mia, "/threads/"+thread)))
	for _, answer := range []string{"", "2", "3", "4"} {
		if answer != "" {
			gates.write(thread, answer)
		}
		gates.end(thread)
		k.Envelopes("thread:"+thread, testweb.RunEnds)
	}
	require.Equal(t, []string{"human: first", "ai: 1", "human: second", "ai: 2", "human: third", "ai: 3", "human: fourth", "ai: 4"},
		stateOf(t, s.Site, key, thread).texts())
}
