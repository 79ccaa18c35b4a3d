package mail_test

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/outbound/mail"
	"github.com/heddle/heddle/outbound/mail/mailtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const from = "Heddle <heddle@heddle.test>"

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func hello() mail.Message {
	return mail.Message{To: "bob@example.com", Subject: "Shipping", Body: "We ship on Friday.", Key: "run-1/call-1"}
}

func sender(t *testing.T, s *mailtest.Server) mail.Sender {
	t.Helper()
	out, err := mail.New(mail.Options{SMTPURL: s.URL(), From: from, Roots: s.Roots(), Clock: clock.NewFake(noon), Timeout: 20 * time.Second})
	require.NoError(t, err)
	return out
}

func TestAMessageArrivesOverEveryKindOfConnection(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]mailtest.Options{
		"plain on this machine":   {},
		"STARTTLS":                {StartTLS: true},
		"TLS":                     {Implicit: true},
		"STARTTLS and PLAIN":      {StartTLS: true, User: "olga", Password: "p@ss:w/rd"},
		"STARTTLS and LOGIN":      {StartTLS: true, User: "olga", Password: "pass", Mechanisms: "LOGIN"},
		"TLS and PLAIN":           {Implicit: true, User: "olga", Password: "pass"},
		"plain and PLAIN on here": {User: "olga", Password: "pass"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mailtest.Start(t, o)
			require.NoError(t, sender(t, s).Send(t.Context(), hello()))
			got := s.Messages()
			require.Len(t, got, 1)
			require.Equal(t, "heddle@heddle.test", got[0].From)
			require.Equal(t, "bob@example.com", got[0].To)
			require.Equal(t, o.User, got[0].User)
			require.Equal(t, o.StartTLS || o.Implicit, got[0].TLS)
		})
	}
}

func TestHeadersAndBodyAreWrittenAsTheyShould(t *testing.T) {
	t.Parallel()
	s := mailtest.Start(t, mailtest.Options{StartTLS: true})
	m := hello()
	m.Subject = "Größe 漢字 🎉 — " + strings.Repeat("sehr lang ", 14)
	m.Body = "Zeile 1 äöü\n.\n..\n.QUIT\r\nFrom here = there\n" + strings.Repeat("long ", 400) + "\n🎉 \tend"
	require.NoError(t, sender(t, s).Send(t.Context(), m))
	data := s.Messages()[0].Data
	for line := range strings.Lines(data) {
		require.LessOrEqual(t, len(line), 998, "RFC 5322 2.1.1")
		for _, r := range line {
			require.Less(t, r, rune(0x80), "only ASCII travels: %q", line)
		}
	}
	got, err := netmail.ReadMessage(strings.NewReader(data))
	require.NoError(t, err)
	subject, err := (&mime.WordDecoder{}).DecodeHeader(got.Header.Get("Subject"))
	require.NoError(t, err)
	require.Equal(t, strings.TrimRight(m.Subject, " "), strings.TrimRight(subject, " "))
	body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(m.Body, "\r\n", "\n"), strings.TrimRight(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n"))
	require.Equal(t, "<"+mail.MessageID(m.Key, "heddle.test")+">", got.Header.Get("Message-Id"))
	at, err := got.Header.Date()
	require.NoError(t, err)
	require.True(t, at.Equal(noon))
	require.Equal(t, `"Heddle" <heddle@heddle.test>`, got.Header.Get("From"))
	kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "text/plain", kind)
	require.Equal(t, "utf-8", strings.ToLower(params["charset"]))
	require.Equal(t, "auto-generated", got.Header.Get("Auto-Submitted"))
}

func TestTheMessageIDFollowsFromTheKeyAlone(t *testing.T) {
	t.Parallel()
	one := mail.MessageID("a", "heddle.test")
	require.Equal(t, one, mail.MessageID("a", "heddle.test"))
	require.NotEqual(t, one, mail.MessageID("b", "heddle.test"))
	require.Regexp(t, `^[0-9a-f]{32}@heddle\.test$`, mail.MessageID("a\r\nBcc: <x>", "heddle.test"))
}

func TestABrokenMessageReachesNoServer(t *testing.T) {
	t.Parallel()
	s := mailtest.Start(t, mailtest.Options{})
	out := sender(t, s)
	for name, c := range map[string]struct {
		field string
		m     mail.Message
	}{
		"no address":           {"to", mail.Message{To: "", Subject: "s", Body: "b", Key: "k"}},
		"a name":               {"to", mail.Message{To: "Bob <bob@example.com>", Subject: "s", Body: "b", Key: "k"}},
		"two addresses":        {"to", mail.Message{To: "bob@example.com, eve@example.com", Subject: "s", Body: "b", Key: "k"}},
		"a header in to":       {"to", mail.Message{To: "bob@example.com\r\nBcc: eve@example.com", Subject: "s", Body: "b", Key: "k"}},
		"a break after to":     {"to", mail.Message{To: "bob@example.com\n", Subject: "s", Body: "b", Key: "k"}},
		"a command in to":      {"to", mail.Message{To: "bob@example.com>\r\nRCPT TO:<eve@example.com", Subject: "s", Body: "b", Key: "k"}},
		"quoted":               {"to", mail.Message{To: "\"a b\"@example.com", Subject: "s", Body: "b", Key: "k"}},
		"an address literal":   {"to", mail.Message{To: "bob@[127.0.0.1]", Subject: "s", Body: "b", Key: "k"}},
		"no subject":           {"subject", mail.Message{To: "bob@example.com", Body: "b", Key: "k"}},
		"a long subject":       {"subject", mail.Message{To: "bob@example.com", Subject: strings.Repeat("ä", 201), Body: "b", Key: "k"}},
		"CR LF in the subject": {"subject", mail.Message{To: "bob@example.com", Subject: "x\r\nBcc: eve@example.com", Body: "b", Key: "k"}},
		"LF in the subject":    {"subject", mail.Message{To: "bob@example.com", Subject: "x\ny", Body: "b", Key: "k"}},
		"CR in the subject":    {"subject", mail.Message{To: "bob@example.com", Subject: "x\ry", Body: "b", Key: "k"}},
		"NEL in the subject":   {"subject", mail.Message{To: "bob@example.com", Subject: "x\u0085y", Body: "b", Key: "k"}},
		"U+2028 in it":         {"subject", mail.Message{To: "bob@example.com", Subject: "x\u2028y", Body: "b", Key: "k"}},
		"NUL in the subject":   {"subject", mail.Message{To: "bob@example.com", Subject: "x\x00y", Body: "b", Key: "k"}},
		"no text in UTF-8":     {"subject", mail.Message{To: "bob@example.com", Subject: "x\xff", Body: "b", Key: "k"}},
		"no body":              {"body", mail.Message{To: "bob@example.com", Subject: "s", Key: "k"}},
		"a long body":          {"body", mail.Message{To: "bob@example.com", Subject: "s", Body: strings.Repeat("ä", 20_001), Key: "k"}},
		"NUL in the body":      {"body", mail.Message{To: "bob@example.com", Subject: "s", Body: "a\x00b", Key: "k"}},
		"no key":               {"key", mail.Message{To: "bob@example.com", Subject: "s", Body: "b"}},
	} {
		err := out.Send(t.Context(), c.m)
		require.True(t, fault.Is(err, fault.KindInvalid), "%s: %v", name, err)
		require.Len(t, fault.FieldsOf(err), 1, name)
		require.Contains(t, fault.FieldsOf(err), c.field, name)
	}
	require.Empty(t, s.Commands())
	largest := mail.Message{To: "bob@example.com", Subject: strings.Repeat("ä", 200), Body: strings.Repeat("漢", 20_000), Key: "k"}
	require.NoError(t, out.Send(t.Context(), largest))
}

func TestAFailureSaysWhetherTheMessageMayHaveBeenAccepted(t *testing.T) {
	t.Parallel()
	long := hello()
	long.Body = strings.Repeat("This line is long enough to fill buffers.\n", 400)
	for name, c := range map[string]struct {
		at      map[string]string
		m       mail.Message
		kind    fault.Kind
		unknown bool
	}{
		"refused at once":         {at: map[string]string{"CONNECT": "554 no"}, kind: fault.KindUnavailable},
		"cut at once":             {at: map[string]string{"CONNECT": mailtest.Cut}, kind: fault.KindUnavailable},
		"sender refused":          {at: map[string]string{"MAIL": "550 not you"}, kind: fault.KindConflict},
		"recipient refused":       {at: map[string]string{"RCPT": "550 no such user"}, kind: fault.KindConflict},
		"recipient later":         {at: map[string]string{"RCPT": "451 greylisted"}, kind: fault.KindUnavailable},
		"cut at the recipient":    {at: map[string]string{"RCPT": mailtest.Cut}, kind: fault.KindUnavailable},
		"DATA refused":            {at: map[string]string{"DATA": "554 no"}, kind: fault.KindConflict},
		"cut before the go-ahead": {at: map[string]string{"DATA": mailtest.Cut}, kind: fault.KindUnavailable},
		"content refused":         {at: map[string]string{"CONTENT": "550 looks like spam"}, kind: fault.KindConflict},
		"content refused for now": {at: map[string]string{"CONTENT": "452 disk full"}, kind: fault.KindUnavailable},
		"cut after the content":   {at: map[string]string{"CONTENT": mailtest.Cut}, unknown: true},
		"cut within the content":  {at: map[string]string{"BODY": mailtest.Cut}, unknown: true},
		"cut within a long one":   {at: map[string]string{"BODY": mailtest.Cut}, m: long, unknown: true},
		"answered with nonsense":  {at: map[string]string{"CONTENT": "200 what?"}, unknown: true},
		"another good code":       {at: map[string]string{"CONTENT": "251 forwarded"}, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mailtest.Start(t, mailtest.Options{At: c.at})
			if c.m.To == "" {
				c.m = hello()
			}
			err := sender(t, s).Send(t.Context(), c.m)
			require.Error(t, err)
			if c.unknown {
				require.ErrorIs(t, err, mail.ErrUnknown)
				return
			}
			require.NotErrorIs(t, err, mail.ErrUnknown)
			require.Equal(t, c.kind, fault.KindOf(err), "%v", err)
			require.Contains(t, fault.Public(err), "not sent")
			require.NotContains(t, s.Commands(), "QUIT", "a broken exchange is cut, never ended")
		})
	}
}

func TestAnAcceptedMessageIsAcceptedHoweverTheServerLeaves(t *testing.T) {
	t.Parallel()
	for _, goodbye := range []string{mailtest.Cut, "421 in a hurry"} {
		s := mailtest.Start(t, mailtest.Options{At: map[string]string{"QUIT": goodbye}})
		require.NoError(t, sender(t, s).Send(t.Context(), hello()))
		require.Len(t, s.Messages(), 1)
	}
}

func TestTheContextEndsASendAtEveryStep(t *testing.T) {
	t.Parallel()
	for step, unknown := range map[string]bool{"CONNECT": false, "MAIL": false, "DATA": false, "BODY": true, "CONTENT": true} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := mailtest.Start(t, mailtest.Options{At: map[string]string{step: mailtest.Silent}})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				<-s.Reached(step)
				cancel()
			}()
			err := sender(t, s).Send(ctx, hello())
			<-done
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, unknown, errors.Is(err, mail.ErrUnknown))
		})
	}
	s := mailtest.Start(t, mailtest.Options{At: map[string]string{"CONTENT": mailtest.Silent}})
	out, err := mail.New(mail.Options{SMTPURL: s.URL(), From: from, Timeout: 100 * time.Millisecond})
	require.NoError(t, err)
	err = out.Send(t.Context(), hello())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, mail.ErrUnknown)
}

func TestNothingIsSaidToAServerThatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]mailtest.Options{
		"a certificate nobody vouches for": {StartTLS: true}, "the same, TLS from the start": {Implicit: true},
	} {
		s := mailtest.Start(t, o)
		out, err := mail.New(mail.Options{SMTPURL: s.URL(), From: from})
		require.NoError(t, err)
		err = out.Send(t.Context(), hello())
		require.True(t, fault.Is(err, fault.KindUnavailable), "%s: %v", name, err)
		require.NotContains(t, s.Commands(), "MAIL", name)
	}
	s := mailtest.Start(t, mailtest.Options{StartTLS: true, User: "olga", Password: "pass"})
	out, err := mail.New(mail.Options{SMTPURL: strings.Replace(s.URL(), "pass", "canary", 1), From: from, Roots: s.Roots()})
	require.NoError(t, err)
	err = out.Send(t.Context(), hello())
	require.True(t, fault.Is(err, fault.KindUnavailable), "%v", err)
	require.NotContains(t, err.Error(), "canary")
	require.Empty(t, s.Messages())
}

func TestOnlyAConfiguredWayIsAWay(t *testing.T) {
	t.Parallel()
	_, err := mail.New(mail.Options{})
	require.ErrorIs(t, err, mail.ErrNotConfigured)
	for _, o := range []mail.Options{
		{SMTPURL: "mail.example.org", From: from}, {SMTPURL: "http://mail.example.org", From: from},
		{SMTPURL: "smtp://user:canary@:587", From: from}, {SMTPURL: "smtp://user:canary@host:0", From: from},
		{SMTPURL: "smtp://host:x%zzcanary", From: from}, {SMTPURL: "smtp://host"}, {SMTPURL: "smtp://host", From: "a\r\nBcc: b@c.de"},
		{SMTPURL: "smtp://host", From: "nobody"},
	} {
		_, err := mail.New(o)
		require.Error(t, err, "%+v", o)
		require.NotContains(t, err.Error(), "canary")
	}
}
