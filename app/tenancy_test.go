package app_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// plain takes out of a page what differs with each request, and the id that was
// asked for.
func plain(t *testing.T, s *testweb.Site, a testweb.Answer, thread string) string {
	t.Helper()
	page := s.PageOf(a)
	return strings.ReplaceAll(page.Region("work"), thread, "ID")
}

func TestForeignAndAbsentThreadsAreTheSame(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "a secret of acme")
	s.WaitIdle(mia, thread)
	scope := s.Scope("acme", "mia@acme.test")
	latest, err := s.App.Database().View(t.Context(), scope, threadID(thread))
	require.NoError(t, err)
	run := string(latest.Latest.ID)
	absent := id.New()

	// gus administers the other organisation; max is mia's colleague and no
	// admin; both learn nothing.
	for email, org := range map[string]string{"gus@globex.test": "globex", "max@acme.test": "acme"} {
		t.Run(org, func(t *testing.T) {
			t.Parallel()
			c := s.SignIn(email)
			key := s.Key(org, email)
			token := s.CSRF(c)

			for _, path := range []string{"/threads/ID", "/threads/ID?before=x"} {
				foreign := s.Get(c, strings.Replace(path, "ID", thread, 1), "Accept", "text/html")
				none := s.Get(c, strings.Replace(path, "ID", absent, 1), "Accept", "text/html")
				malformed := s.Get(c, strings.Replace(path, "ID", "no-id", 1), "Accept", "text/html")
				require.Equal(t, http.StatusNotFound, foreign.Status)
				require.Equal(t, http.StatusNotFound, none.Status)
				require.Equal(t, http.StatusNotFound, malformed.Status)
				require.Equal(t, plain(t, s.Site, none, absent), plain(t, s.Site, foreign, thread))
				require.Equal(t, plain(t, s.Site, none, absent), plain(t, s.Site, malformed, "no-id"))
				require.NotContains(t, foreign.Body, "secret")
			}
			for _, path := range []string{"/messages", "/cancel", "/queue/" + run + "/withdraw", "/title", "/delete"} {
				form := url.Values{"_csrf": {token}, "message": {"intruder"}, "title": {"mine"}}
				foreign := s.Post(c, "/threads/"+thread+path, form)
				none := s.Post(c, "/threads/"+absent+path, form)
				require.Equal(t, http.StatusNotFound, foreign.Status, path)
				require.Equal(t, none.Status, foreign.Status, path)
				require.Equal(t, plain(t, s.Site, none, absent), plain(t, s.Site, foreign, thread), path)
			}
			input := map[string]any{"assistant_id": "echo", "input": map[string]any{"messages": "intruder"}}
			for _, call := range []struct {
				method, path string
				body         any
			}{
				{"GET", "", nil}, {"GET", "/state", nil}, {"POST", "/runs", input}, {"POST", "/runs/wait", input},
				{"GET", "/runs/" + run, nil}, {"POST", "/runs/" + run + "/cancel", nil},
			} {
				foreign := s.API(key, call.method, "/api/threads/"+thread+call.path, call.body)
				none := s.API(key, call.method, "/api/threads/"+absent+call.path, call.body)
				malformed := s.API(key, call.method, "/api/threads/no-id"+call.path, call.body)
				require.Equal(t, http.StatusNotFound, foreign.Status, call.path)
				require.Equal(t, none.Body, foreign.Body, call.path)
				require.Equal(t, none.Body, malformed.Body, call.path)
				require.Contains(t, foreign.Body, `"detail"`)
			}
			for _, k := range []*testweb.Socket{s.Dial(c), s.DialKey(key)} {
				for _, format := range []string{"envelope", "html"} {
					var replies []string
					for _, topic := range []string{thread, absent, "no-id"} {
						_, r := k.TryJoin("thread:"+topic, map[string]any{"after": 0, "format": format})
						require.Equal(t, "error", r.Status)
						replies = append(replies, string(r.Response))
					}
					require.Equal(t, replies[0], replies[1])
					require.Equal(t, replies[0], replies[2])
				}
			}
		})
	}
}

func TestNothingOfAnIntruderStays(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	key := s.Key("acme", "mia@acme.test")
	thread := s.NewThread(mia, "hello")
	s.WaitIdle(mia, thread)
	before := stateOf(t, s.Site, key, thread)
	intruder := s.Key("globex", "gus@globex.test")
	for _, create := range []string{"", "create"} {
		a := s.API(intruder, "POST", "/api/threads/"+thread+"/runs", map[string]any{"assistant_id": "echo",
			"input": map[string]any{"messages": "intruder"}, "if_not_exists": create})
		if create == "create" { // ids belong to an organisation: globex gets a thread of its own
			require.Equal(t, http.StatusOK, a.Status, a.Body)
			continue
		}
		require.Equal(t, http.StatusNotFound, a.Status)
	}
	// A colleague can't take a thread's id either.
	max := s.Key("acme", "max@acme.test")
	a := s.API(max, "POST", "/api/threads/"+thread+"/runs", map[string]any{"assistant_id": "echo",
		"input": map[string]any{"messages": "intruder"}, "if_not_exists": "create"})
	require.Equal(t, http.StatusNotFound, a.Status)
	require.Equal(t, before, stateOf(t, s.Site, key, thread))
	require.NotContains(t, s.Page(mia, "/threads/"+thread).Text("#messages"), "intruder")
}

func TestTwoOrganisationsWithOneThreadIdNeverMeet(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	thread := id.New()
	keys := map[string]string{"acme": s.Key("acme", "mia@acme.test"), "globex": s.Key("globex", "gia@globex.test")}
	sockets := map[string]*testweb.Socket{}
	for org, key := range keys {
		a := s.API(key, "POST", "/api/threads", map[string]any{"thread_id": thread})
		require.Equal(t, http.StatusOK, a.Status, "%s: %s", org, a.Body)
		sockets[org] = s.DialKey(key)
		sockets[org].Join("thread:"+thread, map[string]any{"after": 0})
		sockets[org].Join("user", map[string]any{})
	}
	seen := map[string][]event.Envelope{}
	for range 3 {
		for org, key := range keys {
			a := s.API(key, "POST", "/api/threads/"+thread+"/runs/wait", map[string]any{"assistant_id": "echo",
				"input": map[string]any{"messages": "this is " + org}})
			require.Equal(t, http.StatusOK, a.Status, a.Body)
		}
	}
	for org, k := range sockets {
		for range 3 {
			seen[org] = append(seen[org], k.Envelopes("thread:"+thread, testweb.RunEnds)...)
		}
		dense(t, 0, seen[org])
		all, err := json.Marshal(seen[org])
		require.NoError(t, err)
		require.Equal(t, 9, strings.Count(string(all), "this is "+org), "each question as message, as title and in its answer")
		for other := range keys {
			if other != org {
				require.NotContains(t, string(all), other)
			}
		}
		require.Len(t, stateOf(t, s.Site, keys[org], thread).Messages, 6)
	}
}

func TestAKeyCanDoNoMoreThanItsPersonAndItsScopes(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "mine")
	s.WaitIdle(mia, thread)
	get := func(key string) int { return s.API(key, "GET", "/api/threads/"+thread, nil).Status }

	require.Equal(t, http.StatusOK, get(s.Key("acme", "mia@acme.test")))
	require.Equal(t, http.StatusNotFound, get(s.Key("acme", "max@acme.test", auth.KeyScopes()...)), "no key makes a member an admin")
	require.Equal(t, http.StatusNotFound, get(s.Key("acme", "ada@acme.test")), "an admin's key for runs reads no thread of others")
	require.Equal(t, http.StatusOK, get(s.Key("acme", "ada@acme.test", auth.ScopeAdmin)))

	review := s.Key("acme", "mia@acme.test", auth.ScopeReview)
	a := s.API(review, "POST", "/api/threads/"+thread+"/runs", map[string]any{"assistant_id": "echo",
		"input": map[string]any{"messages": "hello"}})
	require.Equal(t, http.StatusForbidden, a.Status)
	require.Contains(t, a.Body, "scopes do not cover run")
	require.Equal(t, http.StatusForbidden, s.API(review, "POST", "/api/threads", nil).Status)

	// The cookie beside a wrong key doesn't help, nor do two keys that differ.
	wrong := s.Get(mia, "/api/threads/"+thread, "X-Api-Key", "hdl_wrong")
	require.Equal(t, http.StatusUnauthorized, wrong.Status)
	two := s.Get(nil, "/api/threads/"+thread, "X-Api-Key", s.Key("acme", "mia@acme.test"), "Authorization", "Bearer "+review)
	require.Equal(t, http.StatusUnauthorized, two.Status)
}
