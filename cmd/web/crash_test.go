package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/testweb"
)

// counted is the answer to "count to n".
func counted(n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprint(i + 1)
	}
	return strings.Join(words, ", ")
}

// said gives the words of an answer as numbers with single commas, however they
// are wrapped.
func said(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' }), ", ")
}

// listener follows a thread over any number of connections.
type listener struct {
	t      *testing.T
	topic  string
	socket *testweb.Socket
	got    []event.Envelope
}

func (l *listener) join(site *testweb.Site, c *http.Client) {
	l.t.Helper()
	l.socket = site.Dial(c)
	after := map[string]any{"after": 0}
	if n := len(l.got); n > 0 {
		after = map[string]any{"after": l.got[n-1].Seq, "epoch": l.got[n-1].Epoch}
	}
	l.socket.Join(l.topic, after)
}

func (l *listener) until(enough func(event.Envelope) bool) {
	l.t.Helper()
	l.got = append(l.got, l.socket.Envelopes(l.topic, enough)...)
}

// whole checks that page, socket and API tell the answer whole and once.
func (l *listener) whole(site *testweb.Site, c *http.Client, key, thread string, n int) {
	l.t.Helper()
	for i, e := range l.got {
		require.Equal(l.t, int64(i+1), e.Seq, "dense, no number twice")
		require.Equal(l.t, l.got[0].Epoch, e.Epoch)
	}
	require.Equal(l.t, counted(n), said(testweb.Text(l.got)), "on the socket")
	page := site.Page(c, "/threads/"+thread)
	require.Equal(l.t, 1, page.Find(".msg-assistant").Length())
	require.Equal(l.t, counted(n), said(page.Text(".msg-assistant .prose")), "on the page")
	require.False(l.t, page.Busy())
	var state struct {
		Values struct {
			Messages []struct{ Type, Content string }
		}
	}
	site.API(key, "GET", "/api/threads/"+thread+"/state", nil).JSON(l.t, &state)
	require.Len(l.t, state.Values.Messages, 2)
	require.Equal(l.t, counted(n), said(state.Values.Messages[1].Content), "in the API")
}

func (l *listener) continued() (attempts []int) {
	l.t.Helper()
	for _, e := range l.got {
		if name, _ := e.CustomName(); name == event.RunContinued {
			attempts = append(attempts, e.Attempt)
		}
	}
	return attempts
}

// midway is true in the middle of a long answer.
func midway() func(event.Envelope) bool {
	contents := 0
	return func(e event.Envelope) bool {
		if e.Type == event.TextMessageContent {
			contents++
		}
		return contents == 8
	}
}

func TestAnAnswerSurvivesKillAndDrain(t *testing.T) {
	t.Parallel()
	i := install(t)
	server, site := i.serve(t)
	mia := site.SignIn("mia@acme.test")

	code, key, _ := i.run(t, "apikey", "create", "--org", "acme", "--user", "mia@acme.test", "--name", "test")
	require.Zero(t, code)
	require.Regexp(t, `^hdl_[a-z2-7]{12}_[a-z2-7]{52}\n$`, key, "the key alone")
	key = strings.TrimSpace(key)

	code, _, stderr := i.run(t, "serve")
	require.Equal(t, exitLocked, code)
	require.Contains(t, stderr, fmt.Sprint(server.cmd.Process.Pid))

	thread := site.NewThread(mia, "count to 200")
	l := &listener{t: t, topic: "thread:" + thread}
	l.join(site, mia)
	l.until(midway())
	asleep := site.Page(mia, "/threads/"+thread)
	require.Equal(t, 1, asleep.Find(".msg-assistant").Length())
	server.kill()

	began := time.Now()
	server, site = i.serve(t)
	l.join(site, mia)
	l.until(testweb.RunEnds)
	require.Less(t, time.Since(began), 20*time.Second)
	require.Equal(t, event.RunFinished, l.got[len(l.got)-1].Type)
	l.whole(site, mia, key, thread, 200)
	require.Equal(t, []int{2}, l.continued())

	// A page that shows the half of the lost attempt shows the whole, once, as
	// soon as it is back.
	k, at := site.Dial(mia), asleep.At()
	k.Join(l.topic, map[string]any{"format": "html", "after": at.Seq, "epoch": at.Epoch})
	asleep.Patch(k.Next().Payload)
	reload := site.Page(mia, "/threads/"+thread)
	for _, region := range []string{"messages", "status", "queue"} {
		require.Equal(t, reload.Region(region), asleep.Region(region))
	}

	// A stop in the middle of an answer ends well, and the next start goes on.
	require.Equal(t, http.StatusOK, site.Post(mia, "/threads", url.Values{"message": {"hello"}}).Status)
	thread = site.NewThread(mia, "count to 100")
	l = &listener{t: t, topic: "thread:" + thread}
	l.join(site, mia)
	l.until(midway())
	server.signal(syscall.SIGTERM)
	closeCode, _ := l.socket.Closed()
	require.Equal(t, 1012, closeCode, "told to come again")
	require.Zero(t, server.code())
	server, site = i.serve(t, "HEDDLE_DRAIN=200ms")
	l.join(site, mia)
	l.until(testweb.RunEnds)
	l.whole(site, mia, key, thread, 100)
	require.Empty(t, l.continued(), "with time enough the step was finished")

	// Without time enough it is handed back, which is no failure.
	thread = site.NewThread(mia, "count to 150")
	l = &listener{t: t, topic: "thread:" + thread}
	l.join(site, mia)
	l.until(midway())
	server.signal(syscall.SIGTERM)
	require.Zero(t, server.code())
	_, site = i.serve(t)
	l.join(site, mia)
	l.until(testweb.RunEnds)
	l.whole(site, mia, key, thread, 150)
	require.Equal(t, []int{2}, l.continued())
}

func TestASecondSignalEndsADrainAtOnceAndLosesNothing(t *testing.T) {
	t.Parallel()
	i := install(t, "HEDDLE_DRAIN=10m") // longer than any test has patience
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		server, site := i.serve(t)
		mia := site.SignIn("mia@acme.test")
		done := site.NewThread(mia, "what is 6*7")
		site.WaitIdle(mia, done)
		code, key, _ := i.run(t, "apikey", "create", "--org", "acme", "--user", "mia@acme.test", "--name", "test")
		require.Zero(t, code)
		thread := site.NewThread(mia, "count to 80")
		l := &listener{t: t, topic: "thread:" + thread}
		l.join(site, mia)
		l.until(midway())
		server.signal(syscall.SIGTERM)
		closeCode, _ := l.socket.Closed()
		require.Equal(t, 1012, closeCode, "the drain has begun")
		server.signal(second)
		require.Equal(t, -1, server.code(), "%s ended it", second)
		status, ok := server.cmd.ProcessState.Sys().(syscall.WaitStatus)
		require.True(t, ok && status.Signaled())
		require.Equal(t, second, status.Signal())

		server, site = i.serve(t)
		require.Contains(t, site.Page(mia, "/threads/"+done).Text("#messages"), "42")
		l.join(site, mia)
		l.until(testweb.RunEnds)
		l.whole(site, mia, strings.TrimSpace(key), thread, 80)
		require.Equal(t, []int{2}, l.continued())
		server.signal(syscall.SIGTERM)
		require.Zero(t, server.code(), "with nothing at work one is enough")
	}
}

func TestARunIsWatchedAndStoppedFromAnotherProcess(t *testing.T) {
	t.Parallel()
	i := install(t)
	_, site := i.serve(t, "HEDDLE_WORKER=off")
	mia := site.SignIn("mia@acme.test")
	thread := site.NewThread(mia, "count to 1000")
	require.True(t, site.Page(mia, "/threads/"+thread).Busy(), "nobody executes it yet")
	l := &listener{t: t, topic: "thread:" + thread}
	l.join(site, mia)
	worker := start(t, i.env, "worker")
	l.until(midway())
	require.Equal(t, http.StatusOK, site.Post(mia, "/threads/"+thread+"/cancel", nil).Status)
	l.until(testweb.RunEnds)
	var d event.RunFinishedData
	require.NoError(t, l.got[len(l.got)-1].Decode(&d))
	require.Equal(t, event.OutcomeCancelled, d.Outcome)
	page := site.Page(mia, "/threads/"+thread)
	require.Equal(t, said(testweb.Text(l.got)), said(page.Text(".msg-assistant .prose")), "the text so far stays")
	require.NotEmpty(t, said(testweb.Text(l.got)))

	next := site.NewThread(mia, "what is 6*7")
	site.WaitIdle(mia, next)
	require.Contains(t, site.Page(mia, "/threads/"+next).Text("#messages"), "42")
	worker.signal(syscall.SIGTERM)
	require.Zero(t, worker.code())
}
