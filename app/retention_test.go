package app_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/replay"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/testweb"
)

// inDays is a moment at which what is there now is old.
func inDays(n int) time.Time { return time.Now().Add(time.Duration(n) * 24 * time.Hour) }

// joined is what a join was told.
type joined struct {
	Seq   int64
	Epoch string
	Reset bool
}

func tryJoin(t *testing.T, k *testweb.Socket, topic string, payload map[string]any) joined {
	t.Helper()
	_, r := k.TryJoin(topic, payload)
	require.Equal(t, "ok", r.Status, string(r.Response))
	var out joined
	testweb.Answer{Body: string(r.Response)}.JSON(t, &out)
	return out
}

// ended reads until the server says that a topic is over.
func ended(t *testing.T, k *testweb.Socket) {
	t.Helper()
	for {
		f := k.Next()
		if f.Event == "phx_error" {
			require.JSONEq(t, `{"reason":"lag"}`, string(f.Payload))
			return
		}
	}
}

func TestACutLogShowsAllOnThePageAndTellsClientsToBeginAnew(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	other := testweb.Start(t, testweb.Options{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL, Env: []string{"HEDDLE_WORKER=off"}})
	mia, key := s.SignIn("mia@acme.test"), s.Key("acme", "mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	s.WaitIdle(mia, thread)
	require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {"search for refunds"}}).Status)
	s.WaitIdle(mia, thread)
	topic, path := "thread:"+thread, "/threads/"+thread
	page := s.Page(mia, path)
	old := page.At()
	state := s.API(key, "GET", "/api/threads/"+thread+"/state", nil).Body
	live, html, far := s.Dial(mia), s.Dial(mia), other.Dial(mia)
	for _, k := range []*testweb.Socket{live, far} {
		require.False(t, tryJoin(t, k, topic, map[string]any{"after": 0, "epoch": old.Epoch}).Reset)
		require.Equal(t, int64(1), k.Envelopes(topic, testweb.RunEnds)[0].Seq)
	}
	tryJoin(t, html, topic, map[string]any{"format": "html", "after": old.Seq, "epoch": old.Epoch})

	now, err := s.App.Sweep(t.Context(), time.Now(), false)
	require.NoError(t, err)
	require.Zero(t, now.Total(), "nothing is old")
	dry, err := s.App.Sweep(t.Context(), inDays(31), true)
	require.NoError(t, err)
	require.Positive(t, dry.Total().Events)
	require.Equal(t, old, s.Page(mia, path).At(), "a dry run changes nothing")
	swept, err := s.App.Sweep(t.Context(), inDays(31), false)
	require.NoError(t, err)
	require.Equal(t, dry.Orgs, swept.Orgs)
	require.Equal(t, "acme", swept.Orgs[0].Org)
	require.Zero(t, swept.Total().Checkpoints, "no lifetime was set")

	after := s.Page(mia, path)
	cut := after.At()
	require.Equal(t, old.Seq, cut.Seq, "numbers go on")
	require.NotEqual(t, old.Epoch, cut.Epoch)
	for _, region := range regions {
		require.Equal(t, page.Region(region), after.Region(region))
	}
	require.JSONEq(t, state, s.API(key, "GET", "/api/threads/"+thread+"/state", nil).Body)
	// Whoever was there all along is told at once, on every node.
	for _, k := range []*testweb.Socket{live, html, far} {
		ended(t, k)
	}
	require.True(t, tryJoin(t, live, topic, map[string]any{"after": old.Seq, "epoch": old.Epoch}).Reset)
	for _, site := range []*testweb.Server{s, other} {
		for name, c := range map[string]struct {
			place map[string]any
			reset bool
		}{
			"before the cut":                   {map[string]any{"after": 0, "epoch": old.Epoch}, true},
			"at the end, before the cut":       {map[string]any{"after": old.Seq, "epoch": old.Epoch}, true},
			"before the cut, no epoch":         {map[string]any{"after": 0}, true},
			"in the middle, no epoch":          {map[string]any{"after": 3}, true},
			"in the middle of what is no more": {map[string]any{"after": 3, "epoch": cut.Epoch}, true},
			"beyond the end":                   {map[string]any{"after": cut.Seq + 1, "epoch": cut.Epoch}, true},
			"at the end":                       {map[string]any{"after": cut.Seq, "epoch": cut.Epoch}, false},
			"at the end, no epoch":             {map[string]any{"after": cut.Seq}, false},
			"nowhere":                          {map[string]any{}, false},
			"a page from before the cut":       {map[string]any{"format": "html", "after": old.Seq, "epoch": old.Epoch}, true},
			"a page":                           {map[string]any{"format": "html", "after": cut.Seq, "epoch": cut.Epoch}, false},
		} {
			got := tryJoin(t, site.Dial(mia), topic, c.place)
			require.Equal(t, joined{cut.Seq, cut.Epoch, c.reset}, got, name)
		}
	}

	// Whoever was told goes on from there, with every number once.
	k := s.Dial(mia)
	require.True(t, tryJoin(t, k, topic, map[string]any{"after": 0}).Reset)
	fresh := join(t, s, mia, "a page of the new epoch", thread, after)
	require.Equal(t, http.StatusOK, s.Post(mia, path+"/messages", url.Values{"message": {"what is 2*3"}}).Status)
	for i, e := range k.Envelopes(topic, testweb.RunEnds) {
		require.Equal(t, cut.Seq+1+int64(i), e.Seq)
		require.Equal(t, cut.Epoch, e.Epoch)
	}
	s.WaitIdle(mia, thread)
	fresh.shows(s.Page(mia, path))

	_, err = s.App.Record(t.Context(), s.Scope("acme", "mia@acme.test"), threadID(thread), "cut")
	var why *replay.UnrepeatableError
	require.ErrorAs(t, err, &why)
	require.Equal(t, replay.WhyCut, why.Why)
	again, err := s.App.Sweep(t.Context(), inDays(31), false)
	require.NoError(t, err)
	require.Positive(t, again.Total().Events)
	_, err = s.App.Record(t.Context(), s.Scope("acme", "mia@acme.test"), threadID(thread), "cut whole")
	require.ErrorAs(t, err, &why)
	require.Equal(t, replay.WhyCut, why.Why)
}

func TestALongThreadGoesOnWithoutItsOldCheckpoints(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_CHECKPOINT_LIFETIME=60", "HEDDLE_CHECKPOINT_KEEP=10", "HEDDLE_EVENT_LIFETIME=0"}})
	mia, key := s.SignIn("mia@acme.test"), s.Key("acme", "mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	s.WaitIdle(mia, thread)
	for n := range 120 {
		a := s.API(key, http.MethodPost, "/api/threads/"+thread+"/state", map[string]any{"values": map[string]any{
			"messages": []any{map[string]any{"role": "user", "id": fmt.Sprintf("note-%d", n%20), "content": fmt.Sprintf("note %d", n)}}}})
		require.Equal(t, http.StatusOK, a.Status, a.Body)
	}
	scope, db := s.Scope("acme", "mia@acme.test"), s.App.Database()
	history := func() (ids []string) {
		all, err := db.History(t.Context(), scope, threadID(thread), agents.HistoryQuery{Limit: agents.MaxHistory})
		require.NoError(t, err)
		for _, state := range all {
			ids = append(ids, state.Head.ID)
		}
		return ids
	}
	before := history()
	was := s.Page(mia, "/threads/"+thread)
	state := s.API(key, "GET", "/api/threads/"+thread+"/state", nil).Body
	swept, err := s.App.Sweep(t.Context(), time.Now().Add(61*time.Minute), false)
	require.NoError(t, err)
	require.Equal(t, 100, swept.Total().Checkpoints)
	require.Greater(t, swept.Total().Messages, 60, "texts that were replaced since")
	require.Zero(t, swept.Total().Events)
	require.Equal(t, before[:len(before)-100], history())
	require.JSONEq(t, state, s.API(key, "GET", "/api/threads/"+thread+"/state", nil).Body)
	require.Equal(t, was.Region("messages"), s.Page(mia, "/threads/"+thread).Region("messages"))
	_, err = db.StateAt(t.Context(), scope, threadID(thread), before[len(before)-1])
	require.True(t, fault.Is(err, fault.KindNotFound), "%v", err)
	require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {"what is 2*3"}}).Status)
	s.WaitIdle(mia, thread)
	require.Contains(t, s.Page(mia, "/threads/"+thread).Text("#messages"), "2*3")
}

func TestThreadsThatNobodyTouchedGoButNotThoseThatWait(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_CHECKPOINT_LIFETIME=30d", "HEDDLE_CHECKPOINT_STRATEGY=delete"}})
	mia, ray, ada := s.SignIn("mia@acme.test"), s.SignIn("ray@acme.test"), s.SignIn("ada@acme.test")
	done := s.NewThread(mia, "what is 17*23")
	s.WaitIdle(mia, done)
	waits, review := s.AskForReview(mia, s.Scope("acme", "ray@acme.test"), "email bob@example.com that we ship on friday")
	open := s.Dial(mia)
	tryJoin(t, open, "thread:"+done, map[string]any{})
	swept, err := s.App.Sweep(t.Context(), inDays(31), false)
	require.NoError(t, err)
	require.Equal(t, 1, swept.Total().Threads)
	require.Equal(t, http.StatusNotFound, s.Get(mia, "/threads/"+done).Status)
	ended(t, open)
	_, r := open.TryJoin("thread:"+done, map[string]any{})
	require.Equal(t, "not found", r.Reason())
	require.Equal(t, http.StatusOK, s.Get(mia, "/threads/"+waits).Status)
	audit := s.Page(ada, "/admin/audit").Text("main")
	require.Contains(t, audit, "Deleted the thread")
	require.Contains(t, audit, done)
	require.NotContains(t, audit, "17*23")
	reviewer := s.Dial(ray)
	ref := reviewer.Join("reviews", map[string]any{})
	decided := reviewer.Push(ref, "reviews", "decide", map[string]any{"review_id": review.ID, "decision": "approve"})
	require.Equal(t, "ok", decided.Status, string(decided.Response))
	s.WaitIdle(mia, waits)
	require.Len(t, s.Mails(mia), 1, "what waits goes on, however old")
}
