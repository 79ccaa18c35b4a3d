package handlers_test

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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
)

var update = flag.Bool("update", false, "write the access matrix anew; read what changed")

// personas are the columns of the matrix, over what mia has: a private thread
// and a shared one on which her calls wait for a review.
var personas = []string{"anonymous", "member", "other", "reviewer", "asker", "admin", "foreign"}

// mails are the people behind the columns. member and other are the same person:
// the one looks at the shared thread, the other at the private one.
var mails = map[string]struct{ org, email string }{
	"member": {"acme", "max@acme.test"}, "other": {"acme", "max@acme.test"}, "reviewer": {"acme", "ray@acme.test"},
	"asker": {"acme", "mia@acme.test"}, "admin": {"acme", "ada@acme.test"}, "foreign": {"globex", "gus@globex.test"},
}

// world is a server with one of everything that mia has.
type world struct {
	t        *testing.T
	s        *testweb.Server
	browsers map[string]*http.Client
	tokens   map[string]string
	keys     map[string]string
	private  things
	shared   things
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, s: testweb.Start(t, testweb.Options{}), browsers: map[string]*http.Client{"anonymous": nil}, tokens: map[string]string{}, keys: map[string]string{}}
	w.browsers["anonymous"] = w.s.Stranger()
	for who, m := range mails {
		w.browsers[who] = w.s.SignIn(m.email)
		w.tokens[who] = w.s.CSRF(w.browsers[who])
		w.keys[who] = w.s.Key(m.org, m.email, auth.KeyScopes()...)
	}
	w.furnish()
	return w
}

// furnish makes everything anew that a visit may have used up.
func (w *world) furnish() {
	w.t.Helper()
	db, ctx := w.s.App.Database(), w.t.Context()
	mia, ada := w.s.Scope("acme", "mia@acme.test"), w.s.Scope("acme", "ada@acme.test")
	own := w.s.SignIn("mia@acme.test")
	rest := absent()
	sessions, err := db.Sessions(ctx, mia, time.Now())
	require.NoError(w.t, err)
	rest.session = string(sessions[0].ID)
	w.s.Key("acme", "mia@acme.test")
	keys, err := db.OwnAPIKeys(ctx, mia)
	require.NoError(w.t, err)
	rest.key, rest.user, rest.holder, rest.slug = string(keys[0].ID), string(mia.User), string(mia.User), "refund-policy"
	require.NoError(w.t, db.CreateInvitation(ctx, ada, auth.Invitation{ID: auth.InvitationID(rest.invitation), Email: id.New() + "@acme.test",
		Role: auth.RoleMember, ExpiresAt: time.Now().AddDate(0, 0, 1)}, sha256.Sum256([]byte(rest.invitation))))
	kept, err := db.CreateAssistant(ctx, ada, agents.Assistant{Graph: "chat", Name: "kept"}, "")
	require.NoError(w.t, err)
	rest.assistant = string(kept.ID)
	_, err = db.PutItem(ctx, mia, agents.AreaUser, agents.Item{Namespace: []string{"facts"}, Key: "canary", Value: json.RawMessage(`"value"`)})
	require.NoError(w.t, err)
	w.private, w.shared = rest, rest
	w.ask(&w.private, own, agents.VisibilityPrivate)
	w.ask(&w.shared, own, agents.VisibilityOrganisation)
}

// ask makes a thread on which a call of mia's waits for a review.
func (w *world) ask(into *things, own *http.Client, v agents.Visibility) {
	w.t.Helper()
	db, ctx, mia := w.s.App.Database(), w.t.Context(), w.s.Scope("acme", "mia@acme.test")
	thread, err := db.CreateThread(ctx, mia, agents.NewThread{Visibility: v})
	require.NoError(w.t, err)
	into.thread = string(thread.ID)
	a := w.s.Post(own, "/threads/"+into.thread+"/messages", map[string][]string{
		"message": {"email bob@example.com that we ship on friday"}, "assistant_id": {w.guide()}})
	require.Equal(w.t, http.StatusOK, a.Status, a.Body)
	w.s.Eventually("a call waits", func() bool {
		open, err := db.OpenReviews(ctx, mia, thread.ID)
		require.NoError(w.t, err)
		if len(open) > 0 {
			into.review, into.run = string(open[0].ID), string(open[0].Run)
		}
		return len(open) > 0
	})
	state, err := db.State(ctx, mia, thread.ID)
	require.NoError(w.t, err)
	into.checkpoint = state.Head.ID
}

func (w *world) guide() string {
	w.t.Helper()
	all, err := w.s.App.Database().Assistants(w.t.Context(), w.s.Scope("acme", "mia@acme.test"))
	require.NoError(w.t, err)
	at := slices.IndexFunc(all, func(a agents.Assistant) bool { return a.Name == "Heddle guide" })
	return string(all[at].ID)
}

// outcome is what a status says about access: whoever is let in may still be
// told that the form is wrong or the thing is decided already.
func outcome(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return fmt.Sprint(status)
	case http.StatusTooManyRequests:
		return "429"
	default:
		if status >= 500 {
			return fmt.Sprint(status)
		}
		return "in"
	}
}

// row visits one route as everybody.
func (w *world) row(r app.Route) []string {
	w.t.Helper()
	var out []string
	consumes := slices.Contains(consuming, r.Path)
	for _, who := range personas {
		if consumes && who == "other" {
			out = append(out, out[1]) // the same person, who is not who they were
			continue
		}
		seen := w.private
		if who == "member" {
			seen = w.shared
		}
		header := []string{"Accept", "application/json"}
		if strings.HasPrefix(r.Path, "/api/") && who != "anonymous" {
			header = append(header, "X-Api-Key", w.keys[who])
		} else if who != "anonymous" {
			header = append(header, "X-CSRF-Token", w.tokens[who])
		}
		got := outcome(visit(w.t, w.s, w.browsers[who], r.Method, seen.fill(w.t, r), header...).status)
		out = append(out, got)
		if got == "in" && !safe(r.Method) && !consumes {
			w.furnish()
		}
	}
	return out
}

// consuming are the routes after which somebody is not who they were: each gets
// a world of its own.
var consuming = []string{"/auth/logout", "/account/leave", "/account/org", "/account/sessions/end-others", "/account/sessions/:id/revoke",
	"/admin/members/:user/remove", "/admin/members/:user/role", "/admin/keys/:id/revoke", "/account/keys/:id/revoke"}

// TestTheAccessMatrixIsAsWritten visits every route, topic and API operation as
// everybody and compares with testdata/access.txt: a new route without a row
// fails, and so does one that lets in somebody else than before.
func TestTheAccessMatrixIsAsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lines := []string{fmt.Sprintf("%-62s %s", "# "+strings.Join([]string{"who reaches what of mia's", "in: let in"}, "; "), strings.Join(personas, " "))}
	add := func(name string, cells []string) {
		line := fmt.Sprintf("%-62s", name)
		for i, c := range cells {
			line += fmt.Sprintf(" %-*s", len(personas[i]), c)
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	routes := privateRoutes(w.s)
	slices.SortFunc(routes, func(a, b app.Route) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	for _, r := range routes {
		if r.Method == http.MethodHead {
			continue // Fiber's own for each GET
		}
		where := w
		if slices.Contains(consuming, r.Path) {
			where = newWorld(t)
		}
		add(r.Method+" "+r.Path, where.row(r))
	}
	for _, topic := range []string{"thread", "reviews", "user"} {
		add("topic "+topic, w.topic(topic))
	}
	add("push thread send", w.push("thread", "send", map[string]any{"text": "hello"}))
	add("push thread cancel", w.push("thread", "cancel", map[string]any{}))
	add("push reviews decide", w.push("reviews", "decide", map[string]any{"decision": "approve"}))
	got := strings.Join(lines, "\n") + "\n"
	path := filepath.Join("testdata", "access.txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "if this is meant: go test ./handlers -run AccessMatrix -update, and read each line that changed")
}

// topic joins a topic as everybody.
func (w *world) topic(topic string) []string {
	w.t.Helper()
	return w.sockets(topic, func(*testweb.Socket, string, string, things) string { return "in" })
}

// push pushes to a joined topic as everybody.
func (w *world) push(topic, name string, payload map[string]any) []string {
	w.t.Helper()
	return w.sockets(topic, func(k *testweb.Socket, ref, wire string, seen things) string {
		if topic == "reviews" {
			payload["review_id"] = seen.review
		}
		reply := k.Push(ref, wire, name, payload)
		defer w.furnish()
		if reply.Status == "ok" {
			return "in"
		}
		return refusal(reply)
	})
}

func (w *world) sockets(topic string, joined func(k *testweb.Socket, ref, wire string, seen things) string) []string {
	w.t.Helper()
	var out []string
	for _, who := range personas {
		if who == "anonymous" {
			out = append(out, "401") // the upgrade itself is refused: see the tests of the socket
			continue
		}
		seen := w.private
		if who == "member" {
			seen = w.shared
		}
		wire := topic
		if topic == "thread" {
			wire = "thread:" + seen.thread
		}
		k := w.s.Dial(w.browsers[who])
		ref, reply := k.TryJoin(wire, map[string]any{})
		if reply.Status == "ok" {
			out = append(out, joined(k, ref, wire, seen))
		} else {
			out = append(out, refusal(reply))
		}
		k.Close()
	}
	return out
}

// refusal is a refused join or push in the words of the routes.
func refusal(r testweb.Reply) string {
	var d struct{ Code string }
	_ = json.Unmarshal(r.Response, &d)
	switch d.Code {
	case "not_found":
		return "404"
	case "forbidden", "four_eyes":
		return "403"
	case "unauthenticated":
		return "401"
	default:
		return d.Code
	}
}
