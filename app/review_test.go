package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/model/openai/openaitest"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// desk is a server on which mia asks for mail and ray decides by API.
type desk struct {
	t *testing.T
	s *testweb.Server
	// browser is mia's; mia and ray are keys.
	browser   *http.Client
	mia, ray  string
	assistant string
}

func deskOn(t *testing.T, s *testweb.Server, assistant string) *desk {
	t.Helper()
	return &desk{t: t, s: s, browser: s.SignIn("mia@acme.test"), assistant: assistant,
		mia: s.Key("acme", "mia@acme.test", auth.ScopeRun, auth.ScopeReview), ray: s.Key("acme", "ray@acme.test", auth.ScopeRun, auth.ScopeReview)}
}

// interrupts are the open ones of a thread, as the API shows them.
type interrupts []struct {
	ID    string
	Value json.RawMessage
}

func (d *desk) ask() (thread, interrupt string) {
	d.t.Helper()
	form := url.Values{"message": {"email bob@example.com that we ship on friday"}}
	if d.assistant != "" {
		form.Set("assistant_id", d.assistant)
	}
	a := d.s.Post(d.browser, "/threads", form)
	require.Equal(d.t, http.StatusOK, a.Status, a.Body)
	thread = strings.TrimPrefix(a.Path, "/threads/")
	open := d.open(thread)
	require.Len(d.t, open, 1)
	return thread, open[0].ID
}

// open waits until the thread is interrupted.
func (d *desk) open(thread string) interrupts {
	d.t.Helper()
	var state struct{ Interrupts interrupts }
	d.s.Eventually("the thread waits for an answer", func() bool {
		state.Interrupts = nil
		d.s.API(d.mia, http.MethodGet, "/api/threads/"+thread+"/state", nil).JSON(d.t, &state)
		return len(state.Interrupts) > 0
	})
	return state.Interrupts
}

func (d *desk) resume(key, thread string, value any) testweb.Answer {
	d.t.Helper()
	return d.s.API(key, http.MethodPost, "/api/threads/"+thread+"/runs", map[string]any{"assistant_id": "chat", "command": map[string]any{"resume": value}})
}

func (d *desk) decide(thread, interrupt, kind string, more map[string]any) {
	d.t.Helper()
	decision := map[string]any{"type": kind}
	for k, v := range more {
		decision[k] = v
	}
	a := d.resume(d.ray, thread, map[string]any{interrupt: map[string]any{"decisions": []any{decision}}})
	require.Equal(d.t, http.StatusOK, a.Status, a.Body)
}

func (d *desk) ends(thread string) {
	d.t.Helper()
	d.s.Eventually("the thread is idle", func() bool {
		var got struct{ Status string }
		d.s.API(d.mia, http.MethodGet, "/api/threads/"+thread, nil).JSON(d.t, &got)
		return got.Status == "idle"
	})
}

type outbox struct {
	Messages []struct{ To, Subject, Body string }
}

func (d *desk) outbox() (box outbox) {
	d.t.Helper()
	d.s.Get(d.browser, "/dev/outbox", "Accept", "application/json").JSON(d.t, &box)
	return box
}

func TestMailWaitsForAReviewerAndIsSentAsTheReviewerWroteIt(t *testing.T) {
	t.Parallel()
	d := deskOn(t, testweb.Start(t, testweb.Options{}), "")
	queue := d.s.Dial(d.s.SignIn("ray@acme.test"))
	queue.Join("reviews", map[string]any{})
	thread, interrupt := d.ask()
	require.Equal(t, "notice", queue.Next().Event, "the queue is told without a reload")
	require.Empty(t, d.outbox().Messages)
	var value struct {
		ActionRequests []struct {
			Name            string
			Args, Arguments map[string]string
		} `json:"action_requests"`
		ReviewConfigs []struct {
			AllowedDecisions []string `json:"allowed_decisions"`
		} `json:"review_configs"`
		ActionRequest struct {
			Action string
			Args   map[string]string
		} `json:"action_request"`
		Config struct {
			AllowEdit bool `json:"allow_edit"`
		}
	}
	require.NoError(t, json.Unmarshal(d.open(thread)[0].Value, &value))
	require.Equal(t, "send_email", value.ActionRequests[0].Name)
	require.Equal(t, value.ActionRequests[0].Args, value.ActionRequests[0].Arguments)
	require.Equal(t, "bob@example.com", value.ActionRequest.Args["to"])
	require.True(t, value.Config.AllowEdit)
	require.Contains(t, value.ReviewConfigs[0].AllowedDecisions, "edit")

	for name, c := range map[string]struct {
		key    string
		value  any
		status int
		says   string
	}{
		"her own":            {d.mia, map[string]any{"decisions": []any{map[string]any{"type": "approve"}}}, http.StatusForbidden, "Four eyes"},
		"too many":           {d.ray, map[string]any{"decisions": []any{map[string]any{"type": "approve"}, map[string]any{"type": "approve"}}}, 422, "1 decisions"},
		"no decision":        {d.ray, "yes", 422, "decisions"},
		"a broken edit":      {d.ray, []any{map[string]any{"type": "edit", "args": map[string]any{"action": "send_email", "args": map[string]any{"to": "nobody"}}}}, 422, "subject"},
		"without the scope":  {d.s.Key("acme", "ray@acme.test"), map[string]any{"decisions": []any{map[string]any{"type": "approve"}}}, 404, ""},
		"of another org":     {d.s.Key("globex", "gus@globex.test", auth.KeyScopes()...), map[string]any{"decisions": []any{map[string]any{"type": "approve"}}}, 404, ""},
		"of the wrong thing": {d.ray, []any{map[string]any{"type": "edit", "args": map[string]any{"action": "http_request", "args": map[string]any{}}}}, 422, "must stay send_email"},
	} {
		a := d.resume(c.key, thread, c.value)
		require.Equal(t, c.status, a.Status, "%s: %s", name, a.Body)
		require.Contains(t, a.Body, c.says, name)
	}
	require.Empty(t, d.outbox().Messages, "nothing of that did anything")

	d.decide(thread, interrupt, "edit", map[string]any{"edited_action": map[string]any{"name": "send_email",
		"args": map[string]string{"to": "bob@example.com", "subject": "We ship", "body": "On Friday."}}})
	d.ends(thread)
	require.Len(t, d.outbox().Messages, 1)
	require.Equal(t, "We ship", d.outbox().Messages[0].Subject)
	a := d.resume(d.ray, thread, map[string]any{"decisions": []any{map[string]any{"type": "approve"}}})
	require.Equal(t, http.StatusConflict, a.Status, a.Body)
}

func TestNobodyApprovesTheirOwnRequestOnTheSocket(t *testing.T) {
	t.Parallel()
	d := deskOn(t, testweb.Start(t, testweb.Options{}), "")
	joinAs(t, d.s, "mia@acme.test", auth.RoleReviewer)
	thread, _ := d.ask()
	reviews, err := d.s.App.Database().OpenReviews(t.Context(), d.s.Scope("acme", "mia@acme.test"), threadID(thread))
	require.NoError(t, err)
	own, rays := d.s.Dial(d.browser), d.s.Dial(d.s.SignIn("ray@acme.test"))
	ref := own.Join("reviews", map[string]any{})
	reply := own.Push(ref, "reviews", "decide", map[string]any{"review_id": reviews[0].ID, "decision": "approve"})
	require.Equal(t, "error", reply.Status)
	require.Contains(t, reply.Reason(), "Four eyes")
	ref = rays.Join("reviews", map[string]any{})
	reply = rays.Push(ref, "reviews", "decide", map[string]any{"review_id": reviews[0].ID, "decision": "reject", "text": "not today"})
	require.Equal(t, "ok", reply.Status, reply.Reason())
	d.ends(thread)
	require.Empty(t, d.outbox().Messages)
	require.Contains(t, d.s.Page(d.browser, "/threads/"+thread).Text("#messages"), "not today")
}

func TestAnAnswerByAPIGoesOnWithTheApprovalGraph(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := s.Key("acme", "mia@acme.test")
	for name, answer := range map[string]any{
		"agent-chat-ui": map[string]any{"decisions": []any{map[string]any{"type": "approve"}}},
		"agent-inbox":   []any{map[string]any{"type": "accept", "args": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			thread := id.New()
			run := func(body map[string]any) (values struct {
				Messages  []struct{ Type, Content string }
				Interrupt interrupts `json:"__interrupt__"`
			}) {
				body["assistant_id"], body["if_not_exists"] = "approval", "create"
				a := s.API(key, http.MethodPost, "/api/threads/"+thread+"/runs/wait", body)
				require.Equal(t, http.StatusOK, a.Status, a.Body)
				a.JSON(t, &values)
				return values
			}
			paused := run(map[string]any{"input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "launch"}}}})
			require.Len(t, paused.Interrupt, 1)
			var got struct {
				Status     string
				Interrupts map[string]interrupts
			}
			s.API(key, http.MethodGet, "/api/threads/"+thread, nil).JSON(t, &got)
			require.Equal(t, "interrupted", got.Status)
			for _, list := range got.Interrupts {
				require.Equal(t, paused.Interrupt, list, "the same in the thread as in the answer")
			}
			ended := run(map[string]any{"input": map[string]any{}, "command": map[string]any{"resume": answer}})
			require.Empty(t, ended.Interrupt)
			require.Len(t, ended.Messages, 4)
			require.Contains(t, ended.Messages[3].Content, "The answer was")
			a := s.API(key, http.MethodPost, "/api/threads/"+thread+"/runs", map[string]any{"assistant_id": "approval", "command": map[string]any{"resume": answer}})
			require.Equal(t, http.StatusConflict, a.Status, a.Body)
		})
	}
}

func TestAModelOfAProviderCallsAReviewedTool(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(openaitest.New(openaitest.Options{}))
	t.Cleanup(web.Close)
	s := testweb.Start(t, testweb.Options{Env: []string{"OPENAI_BASE_URL=" + web.URL + "/v1"}})
	remote := agents.AssistantID(id.New())
	require.NoError(t, s.App.Database().EnsureAssistant(t.Context(), s.Scope("acme", "olga@acme.test"), agents.Assistant{
		ID: remote, Graph: "chat", Name: "Remote", Config: agents.AssistantConfig{Model: "openai:any", Tools: []string{"send_email"}}}))
	d := deskOn(t, s, string(remote))
	thread, interrupt := d.ask()
	require.Empty(t, d.outbox().Messages)
	k := s.Dial(d.browser)
	k.Join("thread:"+thread, map[string]any{"after": 0})
	d.decide(thread, interrupt, "approve", nil)
	ends := 0
	all := k.Envelopes("thread:"+thread, func(e event.Envelope) bool {
		if testweb.RunEnds(e) {
			ends++
		}
		return ends == 2
	})
	require.Len(t, d.outbox().Messages, 1)
	require.Equal(t, "bob@example.com", d.outbox().Messages[0].To)
	pieces := 0
	for _, e := range all {
		if e.Type == event.TextMessageContent {
			pieces++
		}
	}
	require.Positive(t, pieces, "the provider's answer streams")
}

// joinAs changes what a member of acme is.
func joinAs(t *testing.T, s *testweb.Server, email string, role auth.Role) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "set role heddle_system")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `update memberships set role = $1 where user_id = (select id from users where email = $2)`, string(role), email)
	require.NoError(t, err)
}
