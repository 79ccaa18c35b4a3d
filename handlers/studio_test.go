package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/internal/testweb"
)

func TestTheStudioShowsGraphsAndOnesOwnThreads(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	s.WaitIdle(mia, thread)

	home := s.Page(mia, "/dev")
	require.Equal(t, http.StatusOK, home.Status)
	require.Equal(t, 1, home.Find(`a[href="/dev/graphs/chat"]`).Length())
	require.Contains(t, home.Find(`a[href="/dev/threads/`+thread+`"]`).Text(), "what is 17*23")
	require.Equal(t, 1, home.Find(`a[href="/dev/outbox"]`).Length())
	require.Zero(t, s.Page(s.SignIn("max@acme.test"), "/dev").Find(`a[href="/dev/threads/`+thread+`"]`).Length())

	drawn := s.Page(mia, "/dev/graphs/chat")
	require.Equal(t, 4, drawn.Find("svg.graph .graph-node").Length())
	require.Equal(t, 2, drawn.Find("svg.graph .graph-conditional").Length())
	require.Equal(t, 1, drawn.Find("svg.graph .graph-back").Length())
	require.Equal(t, 4, drawn.Find("table tbody tr").Length())
	require.Contains(t, drawn.Text("[data-copy-text]"), "n1 -.-> n2")
	for _, none := range []string{"no-such-graph", "%25zz", "%2e%2e"} {
		require.Equal(t, http.StatusNotFound, s.Get(mia, "/dev/graphs/"+none).Status, none)
	}

	page := s.Page(mia, "/dev/threads/"+thread)
	require.Contains(t, page.Text("main"), "391")
	var roles []string
	page.Find(".studio-message strong").Each(func(_ int, m *goquery.Selection) { roles = append(roles, m.Text()) })
	require.Equal(t, []string{"user", "assistant", "tool", "assistant"}, roles)
	require.Contains(t, page.Text(".studio-messages"), "calculator")
	steps := page.Find(".studio-table tbody tr")
	require.Equal(t, 4, steps.Length(), "the message, the model, the tool, the model")
	require.Contains(t, steps.First().Text(), "nothing")
	require.Contains(t, steps.Last().Text(), "input")
	require.Equal(t, 1, page.Find(`a[href="/threads/`+thread+`"]`).Length())
	require.Zero(t, page.Find(`form[action$="/continue"]`).Length(), "nothing is due")
}

func TestTheInspectorIsForReadersAndSaysWhoRead(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	s.WaitIdle(mia, thread)
	path := "/dev/threads/" + thread
	for _, who := range []string{"max@acme.test", "gus@globex.test"} {
		c := s.SignIn(who)
		require.Equal(t, http.StatusNotFound, s.Get(c, path).Status, who)
		for _, change := range []string{"/rerun", "/continue"} {
			require.Equal(t, http.StatusNotFound, s.Post(c, path+change, nil).Status, who)
		}
	}
	read := func() int {
		log, err := s.App.Database().AuditLog(t.Context(), s.Scope("acme", "ada@acme.test"), auth.AuditQuery{})
		require.NoError(t, err)
		n := 0
		for _, r := range log.Rows {
			if r.Action == "thread.read_by_admin" && r.ObjectID == thread {
				n++
			}
		}
		return n
	}
	require.Zero(t, read())
	ada := s.SignIn("ada@acme.test")
	page := s.Page(ada, path)
	require.Equal(t, http.StatusOK, page.Status)
	require.Contains(t, page.Text(".studio-facts"), "Mia")
	require.Zero(t, page.Find("main form").Length(), "an admin reads, and writes nothing")
	require.Equal(t, 1, read())
	for _, change := range []string{"/rerun", "/continue"} {
		require.Equal(t, http.StatusNotFound, s.Post(ada, path+change, nil).Status)
	}
	s.Page(mia, path)
	require.Equal(t, 1, read(), "who reads her own is not noted")
}

func TestAThreadIsRunAgainFromTheInspector(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	s.WaitIdle(mia, thread)
	path := "/dev/threads/" + thread
	form := s.Page(mia, path).Find(`form[action="` + path + `/rerun"]`)
	require.Contains(t, form.Text(), "what is 17*23")
	require.Equal(t, path, s.Post(mia, path+"/rerun", nil).Path)
	s.WaitIdle(mia, thread)
	state, err := s.App.Database().State(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread))
	require.NoError(t, err)
	var asked []agents.Message
	for _, m := range state.Messages {
		if m.Role == agents.RoleUser {
			asked = append(asked, m)
		}
	}
	require.Len(t, asked, 2)
	require.Equal(t, asked[0].Text, asked[1].Text)
	require.NotEqual(t, asked[0].ID, asked[1].ID)
	require.NotEqual(t, asked[0].Run, asked[1].Run)

	fresh, err := s.App.Database().CreateThread(t.Context(), s.Scope("acme", "mia@acme.test"), agents.NewThread{})
	require.NoError(t, err)
	empty := "/dev/threads/" + string(fresh.ID)
	require.Contains(t, s.Page(mia, empty).Text("main"), "No step is stored yet")
	require.Equal(t, http.StatusConflict, s.Post(mia, empty+"/rerun", nil).Status)
	require.Equal(t, http.StatusConflict, s.Post(mia, empty+"/continue", nil).Status)
	require.Equal(t, http.StatusConflict, s.Post(mia, path+"/continue", nil).Status, "nothing is due")
}

// shaky is a graph of two nodes whose second fails until it is mended.
func shaky(t *testing.T, mended *atomic.Bool) *graph.Graph {
	t.Helper()
	say := func(id string) graph.Node {
		return func(_ context.Context, task *graph.Task) (graph.Command, error) {
			if id == "second" && !mended.Load() {
				return graph.Command{}, errors.New("it does not work yet")
			}
			return graph.Command{Update: []graph.Write{graph.AddMessage(agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant,
				Text: id + " is done", Run: task.Run, CreatedAt: task.Clock.Now()})}}, nil
		}
	}
	g, err := graph.New("shaky").Node("first", say("first")).Node("second", say("second")).
		Edge(graph.Start, "first").Edge("first", "second").Edge("second", graph.End).Compile()
	require.NoError(t, err)
	return g
}

func TestWhatAFailedRunLeftDueGoesOnFromTheInspector(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{shaky(t, &mended)}})
	mia := s.SignIn("mia@acme.test")
	a := s.Post(mia, "/threads", map[string][]string{"message": {"hello"}, "assistant_id": {"shaky"}})
	thread := strings.TrimPrefix(a.Path, "/threads/")
	path := "/dev/threads/" + thread
	s.Eventually("the run has failed", func() bool { return strings.Contains(s.Page(mia, path).Text(".studio-facts"), "error") })
	page := s.Page(mia, path)
	require.Contains(t, page.Text(".studio-facts"), "second")
	require.Contains(t, page.Text(`form[action="`+path+`/continue"]`), "second")

	mended.Store(true)
	require.Equal(t, path, s.Post(mia, path+"/continue", nil).Path)
	s.WaitIdle(mia, thread)
	page = s.Page(mia, path)
	require.Contains(t, page.Text(".studio-messages"), "second is done")
	require.Equal(t, 1, strings.Count(page.Text(".studio-messages"), "first is done"), "what was done is not done again")
	require.Zero(t, page.Find(`form[action="`+path+`/continue"]`).Length())
}

func TestTheInspectorShowsWhatAThreadWaitsFor(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread, _ := s.AskForReview(mia, s.Scope("acme", "ray@acme.test"), ship)
	path := "/dev/threads/" + thread
	page := s.Page(mia, path)
	require.Contains(t, page.Text("#interrupts ~ article pre"), `"send_email"`)
	require.Contains(t, page.Text("main"), "review of tools")
	require.Zero(t, page.Find(`form[action$="/continue"]`).Length(), "it waits for a decision")
	require.Equal(t, http.StatusConflict, s.Post(mia, path+"/continue", nil).Status)
	require.Equal(t, http.StatusOK, s.Get(s.SignIn("ray@acme.test"), path).Status, "a reviewer reads the thread")
}

func TestBreakpointsOfAllRunsArePassedFromTheThreadOrTheInspector(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Break: agents.Breakpoints{Before: []string{"tools"}, After: []string{"tools"}}})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	var page *testweb.Page
	stopped := func(where string) {
		t.Helper()
		s.Eventually("it stops "+where+" the node", func() bool {
			page = s.Page(mia, "/threads/"+thread)
			return strings.Contains(page.Text(".question"), "The run waits "+where+" the node tools.")
		})
	}
	stopped("before")
	require.Zero(t, page.Find(".question textarea").Length(), "nothing is asked")
	require.NotContains(t, page.Text("main"), "391")
	address, _ := page.Find(".question button").Attr("formaction")
	require.Equal(t, http.StatusUnprocessableEntity, s.Post(mia, strings.Replace(address, "kind=continue", "kind=approve", 1), nil).Status)
	require.Equal(t, "/threads/"+thread, s.Post(mia, address, nil).Path)
	stopped("after")
	path := "/dev/threads/" + thread
	require.Contains(t, s.Page(mia, path).Text("#interrupts ~ article h3"), "breakpoint after tools")
	require.Equal(t, path, s.Post(mia, path+"/continue", nil).Path)
	s.WaitIdle(mia, thread)
	page = s.Page(mia, "/threads/"+thread)
	require.Contains(t, page.Text("main"), "391")
	require.Zero(t, page.Find(".question").Length())

	asks := s.Post(mia, "/threads", map[string][]string{"message": {"hello"}, "assistant_id": {"approval"}})
	id := strings.TrimPrefix(asks.Path, "/threads/")
	s.Eventually("the assistant asks", func() bool {
		page = s.Page(mia, "/threads/"+id)
		return page.Find(".question").Length() == 1
	})
	address, _ = page.Find(".question button").First().Attr("formaction")
	refused := s.Post(mia, strings.Replace(address, "kind=approve", "kind=continue", 1), nil)
	require.Equal(t, http.StatusUnprocessableEntity, refused.Status, "a question is not a breakpoint")
	require.Equal(t, http.StatusConflict, s.Post(mia, "/dev/threads/"+id+"/continue", nil).Status)
}

func TestOnlyDevelopmentHasAStudio(t *testing.T) {
	t.Parallel()
	web := fiber.New()
	handlers.Routes{Studio: nil}.Register(web)
	for _, r := range web.GetRoutes(true) {
		require.False(t, strings.HasPrefix(r.Path, "/dev"), "%s %s", r.Method, r.Path)
	}
}
