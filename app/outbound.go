package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/heddle/heddle/agents/tool/builtin"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/outbound/egress"
	"github.com/heddle/heddle/outbound/mail"
)

// egress is the client by which tools reach other servers.
func (a *App) egress() *egress.Client { return egress.New(egress.Options{Allow: a.allowed}) }

// allowed makes the operator's exceptions.
func (a *App) allowed(target netip.AddrPort) bool {
	for _, rule := range a.o.Config.Network.EgressAllow {
		if rule.Allows(target) {
			return true
		}
	}
	return false
}

// mailer is the way by which mail leaves; nil if there is none, and with it no
// tool that sends mail.
func (a *App) mailer() (builtin.Mailer, error) {
	cfg := a.o.Config
	o := mail.Options{SMTPURL: cfg.Mail.SMTPURL.Reveal(), From: cfg.Mail.From, Clock: clock.System{}}
	if cfg.Server.Env.Development() {
		o.DataDir = cfg.Server.DataDir
	}
	sender, err := mail.New(o)
	if errors.Is(err, mail.ErrNotConfigured) {
		a.logger("app").Info("no mail server is configured (HEDDLE_SMTP_URL): assistants have no e-mail tool")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("setting up mail: %w", err)
	}
	a.outbox, _ = sender.(*mail.Outbox)
	a.post = &postOffice{sender}
	return *a.post, nil
}

// postOffice is the tools' view of a sender.
type postOffice struct{ sender mail.Sender }

// SendMail implements builtin.Mailer.
func (p postOffice) SendMail(ctx context.Context, m builtin.Mail) error {
	err := p.sender.Send(ctx, mail.Message{To: m.To, Subject: m.Subject, Body: m.Body, Key: m.Key})
	if errors.Is(err, mail.ErrUnknown) {
		return fmt.Errorf("%w: %w", builtin.ErrMailUnknown, err)
	}
	return err
}

// MailInvitation implements handlers.Mailer.
func (p postOffice) MailInvitation(ctx context.Context, scope auth.Scope, i auth.Invitation, link string) error {
	body := fmt.Sprintf("Hello,\n\nyou are invited to Heddle as %s. Open this link to accept; it works once, until %s:\n\n%s\n",
		i.Role, i.ExpiresAt.UTC().Format("2 January 2006, 15:04 UTC"), link)
	return p.sender.Send(ctx, mail.Message{To: i.Email, Subject: "Your invitation to Heddle", Body: body, Key: "invitation:" + string(scope.Org) + ":" + string(i.ID)})
}

// invitationMailer mails invitations: the embedder's way, else by the mail
// server. Development's outbox reaches nobody, so there the link is to be copied.
func (a *App) invitationMailer() handlers.Mailer {
	if a.o.Mailer != nil || a.post == nil || a.outbox != nil {
		return a.o.Mailer
	}
	return *a.post
}

// outboxPage shows what development sent; nil elsewhere.
func (a *App) outboxPage(frame *handlers.Frame) *handlers.Outbox {
	if a.outbox == nil {
		return nil
	}
	return handlers.NewOutbox(frame, sentMail{a.outbox}, clock.System{})
}

// sentMail is the page's view of the outbox.
type sentMail struct{ outbox *mail.Outbox }

// Mails implements handlers.Mails.
func (s sentMail) Mails(limit int) ([]handlers.Mail, error) {
	stored, err := s.outbox.List(limit)
	if err != nil {
		return nil, err
	}
	out := make([]handlers.Mail, len(stored))
	for i, m := range stored {
		out[i] = handlers.Mail{ID: m.ID, To: m.To, Subject: m.Subject, Body: m.Body, At: m.At}
	}
	return out, nil
}
