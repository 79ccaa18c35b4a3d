package handlers_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/store"
)

// publicRoutes is a second witness of public.go: a route that needs no sign-in
// has to be written down here as well.
var publicRoutes = []string{
	"/healthz", "/readyz", "/static/*", "/auth/login", "/auth/:provider", "/auth/:provider/callback",
	"/dev/idp", "/dev/idp/*", "/api/ok", "/api/info", "/socket/websocket",
}

// things are what the parameters of routes can name.
type things struct {
	thread, run, session, key, slug, user, invitation, assistant, holder, review, checkpoint, delivery string
}

// absent names things that do not exist anywhere.
func absent() things {
	return things{thread: id.New(), run: id.New(), session: id.New(), key: id.New(), slug: "no-such-document",
		user: id.New(), invitation: id.New(), assistant: id.New(), holder: id.New(), review: id.New(), checkpoint: id.New(), delivery: id.New()}
}

// absentCron is what a cron would be called, if there were any.
const absentCron = "0199c0de-0000-7000-8000-000000000000"

// fill puts things into a route's path. A parameter it doesn't know fails the
// test: whoever adds one says here what it names.
func (o things) fill(t *testing.T, route app.Route) string {
	t.Helper()
	path := route.Path
	for param, value := range map[string]string{":thread": o.thread, ":run": o.run, ":slug": o.slug,
		":assistant": o.assistant, ":ns": "sub", ":area": "user", ":holder": o.holder, ":review": o.review, ":graph": "chat", ":checkpoint": o.checkpoint, ":delivery": o.delivery,
		":cron": absentCron, ":user": o.user, ":invitation": o.invitation, "/admin/keys/:id": "/admin/keys/" + o.key,
		"/account/sessions/:id": "/account/sessions/" + o.session, "/account/keys/:id": "/account/keys/" + o.key,
		"/admin/assistants/:id": "/admin/assistants/" + o.assistant, "/versions/:v": "/versions/1"} {
		path = strings.ReplaceAll(path, param, value)
	}
	require.NotContains(t, path, ":", "%s has a parameter that this test does not know", route.Path)
	require.NotContains(t, path, "*")
	if strings.HasSuffix(path, "/item") && safe(route.Method) {
		path += "?ns=facts&key=canary"
	}
	return path
}

func privateRoutes(s *testweb.Server) []app.Route {
	var out []app.Route
next:
	for _, r := range s.App.Routes() {
		for _, public := range publicRoutes {
			if r.Path == public {
				continue next
			}
		}
		out = append(out, r)
	}
	return out
}

func safe(method string) bool { return method == "GET" || method == "HEAD" || method == "OPTIONS" }

type answer struct {
	status int
	body   string
}

// visit asks for an address with the body of a form or of an API call, neither
// of which breaks a rule.
func visit(t *testing.T, s *testweb.Server, c *http.Client, method, path string, header ...string) answer {
	t.Helper()
	body, kind := "message=hello&title=hello&theme=dark&role=member&version=1&ns=facts&key=canary&value=1&seen=x", "application/x-www-form-urlencoded"
	if strings.HasPrefix(path, "/api/") {
		body, kind = `{"assistant_id":"echo","input":{"messages":[{"role":"user","content":"hello"}]},
			"values":{"messages":[{"role":"user","content":"hello"}]}}`, "application/json"
	}
	if safe(method) {
		body = ""
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", kind)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	unfollowed := *c
	unfollowed.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := unfollowed.Do(req)
	require.NoError(t, err)
	return readAnswer(t, resp)
}

// readAnswer reads an answer; of a stream, which may have no end, the status
// alone.
func readAnswer(t *testing.T, resp *http.Response) answer {
	t.Helper()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		require.NoError(t, resp.Body.Close())
		return answer{status: resp.StatusCode}
	}
	var got bytes.Buffer
	_, err := io.Copy(&got, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return answer{resp.StatusCode, got.String()}
}

func TestStrangersReachOnlyThePublicRoutes(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	private, registered := privateRoutes(s), map[string]bool{}
	require.Greater(t, len(private), 25)
	for _, r := range s.App.Routes() {
		registered[r.Path] = true
	}
	for _, path := range publicRoutes {
		require.True(t, registered[path], "%s is listed as public and is no route", path)
	}
	for _, r := range private {
		for _, header := range [][]string{{"Accept", "application/json"}, {"X-Api-Key", "hdl_x"}, {"Cookie", "heddle=guess"}} {
			got := visit(t, s, s.Stranger(), r.Method, absent().fill(t, r), header...)
			require.Equal(t, http.StatusUnauthorized, got.status, "%s %s with %v: %s", r.Method, r.Path, header, got.body)
		}
	}
}

func TestEveryUnsafeRouteWantsTheSessionsToken(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada, other := s.SignIn("ada@acme.test"), s.SignIn("ada@acme.test")
	visited := 0
	for _, r := range privateRoutes(s) {
		if safe(r.Method) {
			continue
		}
		visited++
		for name, header := range map[string][]string{"none": nil, "another session's": {"X-CSRF-Token", s.CSRF(other)},
			"own, from another site": {"X-CSRF-Token", s.CSRF(ada), "Origin", "https://evil.test"}} {
			got := visit(t, s, ada, r.Method, absent().fill(t, r), append(header, "Accept", "application/json")...)
			require.Equal(t, http.StatusForbidden, got.status, "%s %s with the token %s: %s", r.Method, r.Path, name, got.body)
			require.Regexp(t, "out of date|another site", got.body)
		}
	}
	require.Greater(t, visited, 12)
	require.Contains(t, s.Page(ada, "/account").Text("h1"), "Account", "and ada is still signed in")
}

// repeatable are the unsafe routes that take no Idempotency-Key; router.go says
// why.
var repeatable = []string{"/auth/logout", "/account/org", "/api/threads/:thread/runs/wait",
	"/api/runs/wait", "/api/runs/stream", "/api/threads/:thread/runs/stream", "/api/assistants/search", "/api/assistants/count", "/api/assistants/:assistant/versions",
	"/api/threads/search", "/api/threads/count", "/api/threads/:thread/state/checkpoint", "/api/threads/:thread/history",
	"/api/store/items/search", "/api/store/namespaces"}

func TestEveryChangingRouteTakesAnIdempotencyKey(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	token, tooLong := s.CSRF(ada), strings.Repeat("k", 201)
	for _, r := range privateRoutes(s) {
		if safe(r.Method) || slices.Contains(repeatable, r.Path) {
			continue
		}
		got := visit(t, s, ada, r.Method, absent().fill(t, r), "X-CSRF-Token", token, "Idempotency-Key", tooLong, "Accept", "application/json")
		require.Equal(t, http.StatusUnprocessableEntity, got.status, "%s %s: %s", r.Method, r.Path, got.body)
		require.Contains(t, got.body, "Idempotency-Key", "%s %s", r.Method, r.Path)
	}
}

// ofOrganisation reports whether what a route names is everyone's of an
// organisation.
func ofOrganisation(r app.Route) bool {
	return strings.Contains(r.Path, ":slug") || strings.HasPrefix(r.Path, "/api/assistants/")
}

// fresh is what differs between any two pages.
var fresh = regexp.MustCompile(`(name="(_csrf|csrf-token)" (value|content)=)"[^"]*"|[0-9a-f]{8}-[0-9a-f-]{27}`)

// TestWhatIsNotOnesOwnLooksAbsent visits every route that names a thing with
// things of another organisation and with a fellow member's: all of them must
// answer as for things that do not exist, byte for byte.
func TestWhatIsNotOnesOwnLooksAbsent(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	hers := things{thread: s.NewThread(mia, "what is 17*23"), slug: "acme-only"}
	s.WaitIdle(mia, hers.thread)
	_, asked := s.AskForReview(mia, s.Scope("acme", "ray@acme.test"), ship)
	hers.review = string(asked.ID)
	owner := s.Scope("acme", "mia@acme.test")
	sessions, err := s.App.Database().Sessions(t.Context(), owner, time.Now().UTC())
	require.NoError(t, err)
	hers.session = string(sessions[0].ID)
	hersState, err := s.App.Database().State(t.Context(), owner, agents.ThreadID(hers.thread))
	require.NoError(t, err)
	hers.checkpoint = hersState.Head.ID
	hersKey := s.Key("acme", "mia@acme.test")
	var made struct {
		ID string `json:"run_id"`
	}
	s.API(hersKey, "POST", "/api/threads/"+hers.thread+"/runs", map[string]any{"assistant_id": "echo",
		"input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "x"}}}}).JSON(t, &made)
	hers.run = made.ID
	require.NotEmpty(t, hers.run)
	s.WaitIdle(mia, hers.thread)
	keys, err := s.App.Database().OwnAPIKeys(t.Context(), owner)
	require.NoError(t, err)
	hers.key = string(keys[0].ID)
	hers.user, hers.invitation = string(owner.User), id.New()
	require.NoError(t, s.App.Database().CreateInvitation(t.Context(), s.Scope("acme", "ada@acme.test"), auth.Invitation{
		ID: auth.InvitationID(hers.invitation), Email: "canary@acme.test", Role: auth.RoleMember, ExpiresAt: time.Now().Add(time.Hour)}, auth.Digest{1}))
	kept, err := s.App.Database().CreateAssistant(t.Context(), s.Scope("acme", "ada@acme.test"), agents.Assistant{Graph: "chat", Name: "canary"}, "")
	require.NoError(t, err)
	hers.assistant = string(kept.ID)
	require.NoError(t, s.App.Database().PutDocument(t.Context(), s.Scope("acme", "ada@acme.test"),
		store.Document{Slug: hers.slug, Title: "canary-title", Body: "canary-body"}))
	hers.holder = string(owner.User)
	_, err = s.App.Database().PutItem(t.Context(), owner, agents.AreaUser,
		agents.Item{Namespace: []string{"facts"}, Key: "canary", Value: json.RawMessage(`"canary-value"`)})
	require.NoError(t, err)

	hers.delivery = toldOf(t, s)

	for name, stranger := range map[string]struct{ org, email string }{
		"another organisation's": {"globex", "gus@globex.test"}, "a fellow member's": {"acme", "max@acme.test"},
	} {
		c := s.SignIn(stranger.email)
		key, token := s.Key(stranger.org, stranger.email, auth.KeyScopes()...), s.CSRF(c)
		own := s.NewThread(c, "hello")
		s.WaitIdle(c, own)
		visited := 0
		for _, r := range privateRoutes(s) {
			if strings.Contains(r.Path, ":graph") || strings.Contains(r.Path, "/crons") {
				continue // a graph is the server's, not somebody's; crons there are none of
			}
			if !strings.Contains(r.Path, ":") || stranger.org == "acme" && ofOrganisation(r) {
				continue
			}
			visited++
			foreign, nothing := hers, absent()
			pairs := [][2]things{{foreign, nothing}}
			if strings.Contains(r.Path, ":run") {
				foreign.thread, nothing.thread = own, own
				pairs = append(pairs, [2]things{foreign, nothing})
			}
			for _, pair := range pairs {
				for _, header := range [][]string{{"Accept", "application/json"}, {"Accept", "text/html"}} {
					credentials := []string{"X-CSRF-Token", token}
					if strings.HasPrefix(r.Path, "/api/") {
						credentials = []string{"X-Api-Key", key}
					}
					header = append(header, credentials...)
					want := http.StatusNotFound
					if (strings.HasPrefix(r.Path, "/admin/") || strings.HasPrefix(r.Path, "/api/webhooks/")) && stranger.org == "acme" {
						want = http.StatusForbidden // before anything is looked for
					}
					theirs := visit(t, s, c, r.Method, pair[0].fill(t, r), header...)
					none := visit(t, s, c, r.Method, pair[1].fill(t, r), header...)
					require.Equal(t, want, theirs.status, "%s %s with %s: %s", r.Method, r.Path, name, theirs.body)
					require.Equal(t, want, none.status, "%s %s", r.Method, r.Path)
					require.Equal(t, fresh.ReplaceAllString(none.body, "$1"), fresh.ReplaceAllString(theirs.body, "$1"),
						"%s %s with %s", r.Method, r.Path, name)
					require.NotContains(t, theirs.body, "canary-")
				}
			}
		}
		require.Greater(t, visited, 12)
		socket := s.Dial(c)
		_, theirs := socket.TryJoin("thread:"+hers.thread, map[string]any{"after": 0})
		_, none := socket.TryJoin("thread:"+id.New(), map[string]any{"after": 0})
		require.Equal(t, "error", theirs.Status)
		require.JSONEq(t, string(none.Response), string(theirs.Response), "a topic of %s", name)
		socket.Close()
	}
	require.Equal(t, "what is 17*23", strings.TrimSpace(s.Page(mia, "/threads/"+hers.thread).Text(".title, h1")), "and nothing of hers has changed")
	require.Equal(t, http.StatusOK, s.API(hersKey, "GET", "/api/threads/"+hers.thread+"/runs/"+hers.run, nil).Status)
}
