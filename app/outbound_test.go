package app

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/model/openai"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/agents/tool/builtin"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/outbound/egress"
	"github.com/heddle/heddle/outbound/mail"
	"github.com/heddle/heddle/outbound/mail/mailtest"
)

// configured gives an app that knows its configuration and has no parts yet.
func configured(t *testing.T, environ ...string) *App {
	t.Helper()
	cfg, err := config.Load(config.Options{Environ: environ, DotEnv: filepath.Join(t.TempDir(), "none")})
	require.NoError(t, err)
	return &App{o: Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}}
}

func inProduction(more ...string) []string {
	return append([]string{
		"HEDDLE_ENV=production", "HEDDLE_BASE_URL=https://heddle.example.org", "HEDDLE_SECRET_KEY=" + "8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d",
		"DATABASE_URL=postgres://u:p@db.example.org/heddle?sslmode=require", "REDIS_URL=rediss://r.example.org",
		"HEDDLE_GITHUB_CLIENT_ID=a", "HEDDLE_GITHUB_CLIENT_SECRET=b",
	}, more...)
}

func letter() builtin.Mail {
	return builtin.Mail{To: "bob@example.com", Subject: "Shipping", Body: "On Friday.", Key: "k"}
}

func TestDevelopmentKeepsMailAndProductionWithoutAServerHasNone(t *testing.T) {
	t.Parallel()
	dev := configured(t, "HEDDLE_DATA_DIR="+t.TempDir())
	mailer, err := dev.mailer()
	require.NoError(t, err)
	require.NoError(t, mailer.SendMail(t.Context(), letter()))
	kept, err := sentMail{dev.outbox}.Mails(10)
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.Equal(t, "bob@example.com", kept[0].To)

	prod := configured(t, inProduction("HEDDLE_DATA_DIR="+t.TempDir())...)
	mailer, err = prod.mailer()
	require.NoError(t, err)
	require.True(t, mailer == nil, "so that the tool is left out")
	require.Nil(t, prod.outbox)
	require.Nil(t, prod.outboxPage(nil))
}

func TestTheToolsAreToldWhatBecameOfMail(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]map[string]string{
		"accepted": nil, "refused": {"RCPT": "550 no such user"}, "unknown": {"CONTENT": mailtest.Cut},
	} {
		s := mailtest.Start(t, mailtest.Options{At: at})
		a := configured(t, "HEDDLE_SMTP_URL="+s.URL(), "HEDDLE_MAIL_FROM=Heddle <heddle@acme.test>")
		mailer, err := a.mailer()
		require.NoError(t, err)
		require.Nil(t, a.outbox)
		err = mailer.SendMail(t.Context(), letter())
		switch name {
		case "accepted":
			require.NoError(t, err)
			require.Equal(t, "heddle@acme.test", s.Messages()[0].From)
		case "refused":
			require.True(t, fault.Is(err, fault.KindConflict), "%v", err)
			require.NotErrorIs(t, err, builtin.ErrMailUnknown)
		case "unknown":
			require.ErrorIs(t, err, builtin.ErrMailUnknown)
		}
	}
}

func TestToolsReachLoopbackOnlyWhereTheRulesSaySo(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(s.Close)
	port := s.URL[strings.LastIndexByte(s.URL, ':')+1:]
	for name, c := range map[string]struct {
		app  *App
		open bool
	}{
		"development":                  {configured(t), true},
		"development without a rule":   {configured(t, "HEDDLE_EGRESS_ALLOW=none"), false},
		"production":                   {configured(t, inProduction()...), false},
		"production with the rule":     {configured(t, inProduction("HEDDLE_EGRESS_ALLOW=127.0.0.1/32:"+port)...), true},
		"production with another port": {configured(t, inProduction("HEDDLE_EGRESS_ALLOW=127.0.0.1/32:1")...), false},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		require.NoError(t, err)
		resp, err := c.app.egress().Do(req)
		if !c.open {
			require.True(t, fault.Is(err, fault.KindForbidden), "%s: %v", name, err)
			continue
		}
		require.NoError(t, err, name)
		require.NoError(t, resp.Body.Close())
	}
}

// What a reviewer approves must not be refused afterwards by the room that sends
// it, whose bounds the tools can't import.
func TestWhatTheToolsAcceptTheWayOutAcceptsToo(t *testing.T) {
	t.Parallel()
	tools, err := builtin.All(builtin.Deps{Mailer: &postOffice{}, HTTP: egress.New(egress.Options{})})
	require.NoError(t, err)
	registry, err := tool.NewRegistry(tools...)
	require.NoError(t, err)
	accepted := func(name string, args map[string]any) {
		t.Helper()
		of, ok := registry.Get(name)
		require.True(t, ok)
		raw, err := json.Marshal(args)
		require.NoError(t, err)
		require.NoError(t, of.Check(raw))
	}
	local := strings.Repeat("a", 64) + "@"
	m := mail.Message{Key: "k", To: local + strings.Repeat("b.", 93) + "de", Subject: strings.Repeat("ä", 200), Body: "\t" + strings.Repeat("漢", 19_998) + "\n"}
	accepted("send_email", map[string]any{"to": m.To, "subject": m.Subject, "body": m.Body})
	require.NoError(t, m.Check())
	for _, address := range []string{"https://example.com/" + strings.Repeat("x", 1980), "http://example.com/" + strings.Repeat("ä", 330)} {
		accepted("http_request", map[string]any{"method": "GET", "url": address})
		u, err := url.Parse(address)
		require.NoError(t, err)
		require.NoError(t, egress.CheckURL(u))
	}
}

func TestTheDefaultOfTheConfigurationIsOpenAIItself(t *testing.T) {
	t.Parallel()
	require.Equal(t, openai.DefaultURL, configured(t).o.Config.Models.OpenAIBaseURL)
}
