// Package mail sends plain-text mail on somebody's word: over SMTP, or in
// development into a directory of files that people can look at.
//
// Invariants:
//   - a message that breaks a rule is refused before anything happens; no field
//     can add a header, for line breaks and control characters are refused;
//   - an error says whether the message was certainly not accepted, or whether
//     nobody knows: only the latter is [ErrUnknown];
//   - the Message-ID follows from the caller's key alone, so the same message
//     sent twice can be recognised by whoever receives it.
//
// The composition root imports it; tools see the small interface they declare.
package mail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// The outcomes that a caller tells apart; any other error of a Send means that
// the message was certainly not accepted.
var (
	// ErrUnknown means that the connection was lost between the server's
	// go-ahead for the content and its answer: the message may have been
	// accepted. Do not repeat it unasked.
	ErrUnknown = errors.New("whether the message was accepted is unknown")
	// ErrNotConfigured means that there is no way to send mail here.
	ErrNotConfigured = errors.New("no mail server is configured")
)

// The bounds of a message, in characters; the key's in bytes.
const (
	MaxSubject = 200
	MaxBody    = 20_000
	maxKey     = 400
)

// Message is one plain-text message to one address.
type Message struct {
	To, Subject, Body string
	// Key is the same for every attempt at this message and for no other one.
	Key string
}

// Check reports every broken rule at once.
func (m Message) Check() error {
	broken := map[string]string{}
	if at, ok := auth.NormalizeEmail(m.To); !ok || len(at) != len(m.To) {
		broken["to"] = "must be one plain address such as bob@example.com"
	}
	switch n := utf8.RuneCountInString(m.Subject); {
	case n < 1 || n > MaxSubject:
		broken["subject"] = fmt.Sprintf("must have 1 to %d characters", MaxSubject)
	case !utf8.ValidString(m.Subject) || strings.ContainsFunc(m.Subject, breaksLine):
		broken["subject"] = "must be one line of text"
	}
	switch n := utf8.RuneCountInString(m.Body); {
	case n < 1 || n > MaxBody:
		broken["body"] = fmt.Sprintf("must have 1 to %d characters", MaxBody)
	case !utf8.ValidString(m.Body) || strings.ContainsFunc(m.Body, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\r\n\t", r) }):
		broken["body"] = "must be text without control characters"
	}
	if m.Key == "" || len(m.Key) > maxKey {
		broken["key"] = fmt.Sprintf("must have 1 to %d bytes", maxKey)
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}

// breaksLine is true for what ends a line anywhere, and for all that has no
// place in one.
func breaksLine(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// Sender sends messages. Safe for concurrent use.
type Sender interface {
	// Send returns nil once the message was accepted. An invalid fault names the
	// fields that break a rule; see [ErrUnknown] for the rest.
	Send(ctx context.Context, m Message) error
}

// Options say which way mail leaves.
type Options struct {
	// SMTPURL is smtp://user:password@host:587, where STARTTLS is required
	// unless the host is this machine, or smtps://user:password@host:465.
	SMTPURL string
	// From is the sender, as Heddle <heddle@example.org>.
	From string
	// Roots are trusted instead of the system's.
	Roots *x509.CertPool
	// Timeout of one message, [DefaultTimeout] if 0.
	Timeout time.Duration
	// DataDir is where development keeps messages without an SMTPURL; empty
	// elsewhere.
	DataDir string
	Clock   clock.Clock
}

// OutboxDir is the directory of the outbox below a data directory.
const OutboxDir = "outbox"

// developmentFrom is the sender where nobody set one.
const developmentFrom = "Heddle <heddle@heddle.test>"

// New gives the sender that o describes: SMTP if there is a URL, the outbox if
// there is a data directory, else [ErrNotConfigured].
func New(o Options) (Sender, error) {
	switch {
	case o.SMTPURL != "":
		return NewSMTP(o)
	case o.DataDir != "":
		return NewOutbox(filepath.Join(o.DataDir, OutboxDir), o.From, o.Clock)
	default:
		return nil, ErrNotConfigured
	}
}

// envelope writes messages of one sender.
type envelope struct {
	from  *mail.Address
	clock clock.Clock
}

func newEnvelope(from string, clk clock.Clock) (envelope, error) {
	parsed, err := mail.ParseAddress(from)
	if err != nil {
		return envelope{}, fmt.Errorf("reading the sender of mail: %w", err)
	}
	if _, ok := auth.NormalizeEmail(parsed.Address); !ok || strings.ContainsFunc(parsed.Name, breaksLine) {
		return envelope{}, errors.New("reading the sender of mail: it is not an address such as Heddle <heddle@example.org>")
	}
	if clk == nil {
		clk = clock.System{}
	}
	return envelope{from: parsed, clock: clk}, nil
}

// domain is the sender's, which also names us to the server.
func (e envelope) domain() string {
	return e.from.Address[strings.LastIndexByte(e.from.Address, '@')+1:]
}

// compose checks m and writes it down.
func (e envelope) compose(m Message) (*gomail.Msg, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(e.from)
	if err := msg.To(m.To); err != nil {
		return nil, fault.Invalid("to", "must be one plain address such as bob@example.com").WithCause(err)
	}
	msg.Subject(m.Subject)
	msg.SetDateWithValue(e.clock.Now())
	msg.SetMessageIDWithValue(MessageID(m.Key, e.domain()))
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // no out-of-office replies, please (RFC 3834)
	msg.SetBodyString(gomail.TypeTextPlain, strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(m.Body))
	return msg, nil
}

// MessageID is the id of the message with this key, without the brackets.
func MessageID(key, domain string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16]) + "@" + domain
}

func render(msg *gomail.Msg) ([]byte, error) {
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("writing down a message: %w", err)
	}
	return b.Bytes(), nil
}
