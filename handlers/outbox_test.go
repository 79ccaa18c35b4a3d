package handlers_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/outbound/mail"
)

func TestTheOutboxShowsWhatDevelopmentSentNewestFirst(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_DATA_DIR=" + data}})
	mia := s.SignIn("mia@acme.test")
	empty := s.Page(mia, "/dev/outbox")
	require.Equal(t, http.StatusOK, empty.Status)
	require.Contains(t, empty.Text("main"), "No mail yet")
	require.JSONEq(t, `{"messages":[]}`, s.Get(mia, "/dev/outbox", "Accept", "application/json").Body)

	box, err := mail.NewOutbox(filepath.Join(data, mail.OutboxDir), "", nil)
	require.NoError(t, err)
	sent := []mail.Message{
		{To: "bob@example.com", Subject: "Shipping", Body: "We ship\n\non Friday.", Key: "1"},
		{To: "eve@example.com", Subject: "<b>Größe</b>", Body: "<script>alert(1)</script>", Key: "2"},
	}
	for _, m := range sent {
		require.NoError(t, box.Send(t.Context(), m))
	}
	p := s.Page(mia, "/dev/outbox")
	require.Equal(t, 2, p.Find("article.mail").Length())
	require.Contains(t, p.Text("main"), "2 messages")
	newest := p.Find("article.mail").First()
	require.Equal(t, "<b>Größe</b>", newest.Find("h2").Text())
	require.Contains(t, newest.Find(".meta").Text(), "eve@example.com")
	require.Equal(t, "<script>alert(1)</script>", newest.Find("pre").Text(), "what somebody wrote is text")
	require.Equal(t, "We ship\n\non Friday.", p.Find("article.mail").Last().Find("pre").Text())

	var got struct {
		Messages []struct {
			ID, To, Subject, Body string
			At                    time.Time
		}
	}
	gus := s.SignIn("gus@globex.test")
	s.Get(gus, "/dev/outbox", "Accept", "application/json").JSON(t, &got)
	require.Len(t, got.Messages, 2, "any person of the development server may look")
	for i, m := range got.Messages {
		want := sent[len(sent)-1-i]
		require.Equal(t, []string{want.To, want.Subject, want.Body}, []string{m.To, m.Subject, m.Body})
		require.True(t, id.Valid(m.ID))
		require.WithinDuration(t, time.Now(), m.At, time.Minute)
	}
}

func TestThereIsNoOutboxWhereMailLeaves(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_SMTP_URL=smtp://127.0.0.1:1", "HEDDLE_MAIL_FROM=Heddle <heddle@acme.test>"}})
	for _, r := range s.App.Routes() {
		require.False(t, strings.HasPrefix(r.Path, "/dev/outbox"), r.Path)
	}
	require.Equal(t, http.StatusNotFound, s.Get(s.SignIn("mia@acme.test"), "/dev/outbox").Status)
}
