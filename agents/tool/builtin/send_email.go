package builtin

import (
	"context"
	_ "embed" // the text the model reads
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

//go:embed send_email.md
var sendEmailText string

// Mailer sends mail. It returns nil once the message was accepted, an error
// that is [ErrMailUnknown] if nobody knows, and any other error if it was
// certainly not; a fault's public text is told to the model.
type Mailer interface {
	SendMail(ctx context.Context, m Mail) error
}

// ErrMailUnknown says that a message may or may not have been accepted.
var ErrMailUnknown = errors.New("whether the e-mail was sent is unknown")

// Mail is one plain-text message. Key is the same for every attempt at it.
type Mail struct {
	To, Subject, Body, Key string
}

// Bounds of an e-mail, in characters.
const (
	maxSubject   = 200
	maxEmailBody = 20_000
	maxAddress   = 254
)

// emailTimeout covers the connection, the mail server's checks and its answer.
const emailTimeout = 30 * time.Second

type sendEmailArgs struct {
	To      string `json:"to" jsonschema:"one address, such as bob@example.com"`
	Subject string `json:"subject" jsonschema:"one line"`
	Body    string `json:"body" jsonschema:"the text, plain, with line breaks"`
}

// Check implements the rules that the schema cannot say.
func (a sendEmailArgs) Check() error {
	broken := map[string]string{}
	if at, ok := auth.NormalizeEmail(a.To); !ok || len(at) != len(a.To) {
		broken["to"] = "must be one plain address such as bob@example.com"
	}
	if strings.ContainsFunc(a.Subject, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
		broken["subject"] = "must be one line"
	}
	if strings.ContainsFunc(a.Body, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\r\n\t", r) }) {
		broken["body"] = "must be text without control characters"
	}
	if strings.TrimSpace(a.Subject) == "" {
		broken["subject"] = "must not be empty"
	}
	if strings.TrimSpace(a.Body) == "" {
		broken["body"] = "must not be empty"
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}

type sendEmailData struct {
	To      string `json:"to"`
	Subject string `json:"subject"`
}

func newSendEmail(m Mailer) (tool.Tool, error) {
	run := func(ctx context.Context, inv tool.Invocation, a sendEmailArgs) (tool.Result, error) {
		inner, cancel := early(ctx)
		defer cancel()
		err := m.SendMail(inner, Mail{To: a.To, Subject: a.Subject, Body: a.Body, Key: inv.IdempotencyKey})
		switch {
		case errors.Is(err, ErrMailUnknown):
			r := tool.Refusal("Whether the e-mail to "+a.To+" was sent is unknown: the mail server did not answer after it got the text. "+
				"Do not send it again; a person has to find out.", "E-mail to "+a.To+": outcome unknown")
			r.Unknown = true
			return r, nil
		case err != nil:
			return tool.Result{}, fmt.Errorf("sending an e-mail: %w", err)
		}
		return tool.Text(fmt.Sprintf("Sent to %s, with the subject “%s”.", a.To, a.Subject), "E-mail to "+a.To+" sent").
			WithData(sendEmailData{To: a.To, Subject: a.Subject})
	}
	return tool.New(tool.Spec{
		Name: "send_email", Title: "Send an e-mail", Description: sendEmailText,
		Effect: tool.EffectOutbound, Review: tool.ReviewAlways, Timeout: emailTimeout,
		Consequence: "One e-mail to one address outside the organisation.",
	}, run,
		label("to", "To"), format("to", "email"), lengths("to", 3, maxAddress),
		label("subject", "Subject"), lengths("subject", 1, maxSubject),
		label("body", "Text"), multiline("body"), lengths("body", 1, maxEmailBody))
}
