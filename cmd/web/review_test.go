package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/outbound/mail/mailtest"
)

// office is an installation with a mail server, where mia asks and ray decides.
type office struct {
	installation
	t        *testing.T
	mia, ray string
	mails    *mailtest.Server
}

func newOffice(t *testing.T, mails *mailtest.Server) (*office, *process, *testweb.Site) {
	t.Helper()
	o := &office{t: t, mails: mails, installation: install(t, "HEDDLE_SMTP_URL="+mails.URL(), "HEDDLE_MAIL_FROM=desk@acme.test")}
	server, site := o.serve(t)
	o.mia, o.ray = o.key("mia@acme.test", "run"), o.key("ray@acme.test", "run,review")
	return o, server, site
}

func (o *office) key(email, scopes string) string {
	o.t.Helper()
	code, key, stderr := o.run(o.t, "apikey", "create", "--org", "acme", "--user", email, "--name", "test", "--scope", scopes)
	require.Zero(o.t, code, stderr)
	return strings.TrimSpace(key)
}

// state is what the tests read of a thread.
type state struct {
	Next   []string
	Values struct {
		Messages []struct{ Type, Content string }
	}
	Interrupts []struct {
		ID    string
		Value struct {
			ActionRequests []struct {
				Description string
				Args        struct{ To, Subject, Body string }
			} `json:"action_requests"`
		}
	}
}

func (o *office) state(site *testweb.Site, thread string) state {
	o.t.Helper()
	var s state
	site.API(o.ray, http.MethodGet, "/api/threads/"+thread+"/state", nil).JSON(o.t, &s)
	return s
}

// waits waits until the thread asks for a decision, and gives the request.
func (o *office) waits(site *testweb.Site, thread string, round string) state {
	o.t.Helper()
	var s state
	site.Eventually("the thread waits for a reviewer", func() bool {
		answer := site.API(o.ray, http.MethodGet, "/api/threads/"+thread+"/state", nil)
		if answer.Status != http.StatusOK {
			return false // ray reads it once a request is open
		}
		s = state{}
		answer.JSON(o.t, &s)
		return len(s.Interrupts) == 1 && strings.Contains(s.Interrupts[0].Value.ActionRequests[0].Description, round)
	})
	return s
}

func (o *office) decide(site *testweb.Site, thread string, decision map[string]any) {
	o.t.Helper()
	answer := site.API(o.ray, http.MethodPost, "/api/threads/"+thread+"/runs", map[string]any{
		"assistant_id": "chat", "command": map[string]any{"resume": map[string]any{"decisions": []any{decision}}}})
	require.Equal(o.t, http.StatusOK, answer.Status, answer.Body)
}

// ends waits for the thread's last words.
func (o *office) ends(site *testweb.Site, thread string) string {
	o.t.Helper()
	last := ""
	site.Eventually("the run that goes on has ended", func() bool {
		s := o.state(site, thread)
		last = s.Values.Messages[len(s.Values.Messages)-1].Content
		return len(s.Next) == 0 && len(s.Values.Messages) == 4
	})
	return last
}

const request = "email bob@example.com that we ship on friday"

func TestAnApprovedMailIsSentOnceWhereverTheServerDies(t *testing.T) {
	t.Parallel()
	o, server, site := newOffice(t, mailtest.Start(t, mailtest.Options{}))
	thread := site.NewThread(site.SignIn("mia@acme.test"), request)
	asked := o.waits(site, thread, "")
	require.Equal(t, "bob@example.com", asked.Interrupts[0].Value.ActionRequests[0].Args.To)
	require.Empty(t, o.mails.Messages())
	refused := site.API(o.key("mia@acme.test", "run,review"), http.MethodPost, "/api/threads/"+thread+"/runs", map[string]any{
		"assistant_id": "chat", "command": map[string]any{"resume": map[string]any{"decisions": []any{map[string]any{"type": "approve"}}}}})
	require.Equal(t, http.StatusForbidden, refused.Status, refused.Body)

	server.kill() // before the decision
	server, site = o.serve(t, "HEDDLE_WORKER=off")
	require.Equal(t, asked, o.state(site, thread), "what waits is as it was")
	edited := asked.Interrupts[0].Value.ActionRequests[0].Args
	o.decide(site, thread, map[string]any{"type": "edit", "edited_action": map[string]any{
		"name": "send_email", "args": map[string]string{"to": edited.To, "subject": "We ship", "body": edited.Body}}})
	server.kill() // between the decision and the mail
	require.Empty(t, o.mails.Messages())
	_, site = o.serve(t)
	require.Contains(t, o.ends(site, thread), "on its way")
	require.Len(t, o.mails.Messages(), 1)
	require.Contains(t, o.mails.Messages()[0].Data, "Subject: We ship\n")
}

func TestAMailWhoseFateNobodyKnowsIsNotSentAgain(t *testing.T) {
	t.Parallel()
	o, server, site := newOffice(t, mailtest.Start(t, mailtest.Options{At: map[string]string{"CONTENT": mailtest.Silent}}))
	thread := site.NewThread(site.SignIn("mia@acme.test"), request)
	o.waits(site, thread, "")
	o.decide(site, thread, map[string]any{"type": "approve"})
	<-o.mails.Reached("CONTENT")
	server.kill() // the mail server has the whole mail, and nobody wrote it down
	_, site = o.serve(t)
	o.waits(site, thread, "nobody knows")
	o.decide(site, thread, map[string]any{"type": "respond", "message": "Bob says that he has it."})
	require.Contains(t, o.ends(site, thread), "on its way")
	sent := 0
	for _, verb := range o.mails.Commands() {
		if verb == "DATA" {
			sent++
		}
	}
	require.Equal(t, 1, sent)
}
