package app_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

// regions are the parts of a thread's page that the socket patches.
var regions = []string{"messages", "status", "queue", "composer-actions", "thread-title"}

// watcher is a page that stays open.
type watcher struct {
	t      *testing.T
	name   string
	page   *testweb.Page
	socket *testweb.Socket
}

// watch opens a thread's page and follows it live.
func watch(t *testing.T, s *testweb.Server, c *http.Client, name, thread string) *watcher {
	t.Helper()
	return join(t, s, c, name, thread, s.Page(c, "/threads/"+thread))
}

// join follows a page that was loaded some time ago.
func join(t *testing.T, s *testweb.Server, c *http.Client, name, thread string, page *testweb.Page) *watcher {
	t.Helper()
	w := &watcher{t: t, name: name, page: page, socket: s.Dial(c)}
	at := page.At()
	w.socket.Join("thread:"+thread, map[string]any{"format": "html", "after": at.Seq, "epoch": at.Epoch})
	return w
}

// next applies the next patch.
func (w *watcher) next() {
	w.t.Helper()
	f := w.socket.Next()
	require.Equal(w.t, "view", f.Event, string(f.Payload))
	w.page.Patch(f.Payload)
}

// until applies patches until the words of a region hold some text.
func (w *watcher) until(region, text string) {
	w.t.Helper()
	for !strings.Contains(w.page.Text("#"+region), text) {
		w.next()
	}
}

// shows applies patches until every region is what a reload shows.
func (w *watcher) shows(reload *testweb.Page) {
	w.t.Helper()
	for {
		diff := ""
		for _, id := range regions {
			if d := cmp.Diff(reload.Region(id), w.page.Region(id)); d != "" {
				diff += fmt.Sprintf("#%s of %s (- reload, + live):\n%s\n", id, w.name, d)
			}
		}
		if diff == "" {
			return
		}
		f, ok := w.socket.Within(3 * time.Second)
		if !ok {
			w.t.Fatalf("the live page does not become what a reload shows:\n%s", diff)
		}
		require.Equal(w.t, "view", f.Event, string(f.Payload))
		w.page.Patch(f.Payload)
	}
}

func TestALivePageEndsAsAReloadShowsIt(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	s := testweb.Start(t, testweb.Options{TokensPerSecond: 400, Graphs: []*graph.Graph{gate}})
	mia := s.SignIn("mia@acme.test")
	// Nobody watches on the other node: it knows of a thread what the database does.
	other := testweb.Start(t, testweb.Options{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL,
		Graphs: []*graph.Graph{gate}, Env: []string{"HEDDLE_WORKER=off"}})
	start := func(t *testing.T, assistant, text string) string {
		t.Helper()
		a := s.Post(mia, "/threads", url.Values{"message": {text}, "assistant_id": {assistant}})
		require.Equal(t, http.StatusOK, a.Status)
		return strings.TrimPrefix(a.Path, "/threads/")
	}
	send := func(t *testing.T, thread, text string) {
		t.Helper()
		require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {text}}).Status)
	}
	// settled compares pages that watched all along, that came in the middle,
	// and one that slept from the start to the end, with a reload.
	settled := func(t *testing.T, thread string, asleep *testweb.Page, watchers ...*watcher) {
		t.Helper()
		s.WaitIdle(mia, thread)
		reload := s.Page(mia, "/threads/"+thread)
		watchers = append(watchers, join(t, s, mia, "the page that slept", thread, asleep.Clone()),
			join(t, other, mia, "the page that slept and woke elsewhere", thread, asleep.Clone()))
		for _, w := range watchers {
			w.shows(reload)
		}
	}

	for name, turns := range map[string][]string{
		"Words":         {"hello", "thanks", "who are you"},
		"OneTool":       {"what is 17*23", "what is 2^10"},
		"SeveralAtOnce": {"weather in Berlin and Oslo", "time in Tokyo, Paris and Lima"},
		"Search":        {"what is our refund policy"},
		"Markdown":      {"plan a launch", "show me a table", "show code", "show formatting"},
		"Memory":        {"remember that I like tea", "what do you remember about me"},
		"FailedTool":    {"what is 1/0", "weather in Atlantis and Oslo"},
		"FailedRun":     {"simulate cut stream", "hello"},
		"Queue":         {"count to 30", "hello", "what is 3*4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			thread := start(t, "chat", turns[0])
			asleep := s.Page(mia, "/threads/"+thread)
			first := watch(t, s, mia, "the first page", thread)
			first.until("messages", strings.Fields(turns[0])[0])
			for i, text := range turns[1:] {
				if name != "Queue" || i == 1 { // the others follow at once and wait in line
					s.WaitIdle(mia, thread)
				}
				send(t, thread, text)
			}
			middle := watch(t, s, mia, "the page that came in the middle", thread)
			settled(t, thread, asleep, first, middle)
		})
	}

	for _, graph := range []string{"echo", "stream50", "slow"} {
		t.Run("Graph "+graph, func(t *testing.T) {
			t.Parallel()
			thread := start(t, graph, "go")
			asleep := s.Page(mia, "/threads/"+thread)
			settled(t, thread, asleep, watch(t, s, mia, "the page", thread))
		})
	}

	t.Run("TitleOfAThreadMadeEmpty", func(t *testing.T) {
		t.Parallel()
		var made struct {
			ID string `json:"thread_id"`
		}
		s.API(s.Key("acme", "mia@acme.test"), "POST", "/api/threads", map[string]any{}).JSON(t, &made)
		w := watch(t, s, mia, "the page", made.ID)
		asleep := s.Page(mia, "/threads/"+made.ID)
		a := s.Post(mia, "/threads/"+made.ID+"/messages", url.Values{"message": {"hello there"}, "assistant_id": {"chat"}})
		require.Equal(t, http.StatusOK, a.Status)
		settled(t, made.ID, asleep, w)
		require.Equal(t, "hello there", w.page.Text("#thread-title"))
	})

	t.Run("Failure", func(t *testing.T) {
		t.Parallel()
		thread := start(t, "failing", "go")
		asleep := s.Page(mia, "/threads/"+thread)
		w := watch(t, s, mia, "the page", thread)
		settled(t, thread, asleep, w)
		require.Contains(t, w.page.Text("#status"), "boom")
	})

	t.Run("StopAndGoOn", func(t *testing.T) {
		t.Parallel()
		thread := start(t, "gate", "go")
		asleep := s.Page(mia, "/threads/"+thread)
		w := watch(t, s, mia, "the page", thread)
		gates.write(thread, "Half of ", "an *answer*.\n\nAnd more")
		w.until("messages", "And more")
		require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/cancel", nil).Status)
		settled(t, thread, asleep, w)
		require.Contains(t, w.page.Text("#messages"), "And more")
		send(t, thread, "again")
		gates.write(thread, "Whole.")
		gates.end(thread)
		settled(t, thread, asleep, w)
	})

	t.Run("QueueAndWithdraw", func(t *testing.T) {
		t.Parallel()
		thread := start(t, "gate", "first")
		asleep := s.Page(mia, "/threads/"+thread)
		w := watch(t, s, mia, "the page", thread)
		gates.write(thread, "One")
		for _, text := range []string{"second", "third", "fourth"} {
			send(t, thread, text)
		}
		w.until("queue", "fourth")
		require.Equal(t, []string{"second", "third", "fourth"}, queued(w.page))
		require.NotContains(t, w.page.Text("#messages"), "second")
		reload := s.Page(mia, "/threads/"+thread)
		w.shows(reload)

		third, _ := reload.Find("#queue li:nth-child(2)").Attr("id")
		s.Post(mia, "/threads/"+thread+"/queue/"+strings.TrimPrefix(third, "queued-")+"/withdraw", nil)
		for len(queued(w.page)) != 2 {
			w.next()
		}
		require.Equal(t, []string{"second", "fourth"}, queued(w.page))
		w.shows(s.Page(mia, "/threads/"+thread))
		for _, answer := range []string{"One", "Two", "Three"} {
			w.until("status", "Writing")
			if answer != "One" {
				gates.write(thread, answer)
			}
			w.until("messages", answer)
			gates.end(thread)
		}
		settled(t, thread, asleep, w)
		var said []string
		for _, n := range w.page.Find("#messages .msg-text, #messages .prose").EachIter() {
			said = append(said, strings.TrimSpace(n.Text()))
		}
		require.Equal(t, []string{"first", "One", "second", "Two", "fourth", "Three"}, said)
	})
}

func queued(p *testweb.Page) []string {
	var out []string
	for _, n := range p.Find("#queue .msg-text").EachIter() {
		out = append(out, strings.TrimSpace(n.Text()))
	}
	return out
}
