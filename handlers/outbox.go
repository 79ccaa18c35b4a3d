package handlers

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/views/outbox"
)

// Mail is one message that development kept instead of sending it.
type Mail struct {
	ID      string    `json:"id"`
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Body    string    `json:"body"`
	At      time.Time `json:"at"`
}

// Mails gives at most limit messages, newest first.
type Mails interface {
	Mails(limit int) ([]Mail, error)
}

// mailsShown bounds the page; the outbox itself keeps more.
const mailsShown = 100

// Outbox serves the mail of a development server. It knows no organisations:
// whoever is signed in there sees all of it.
type Outbox struct {
	frame *Frame
	mails Mails
	clock clock.Clock
}

// NewOutbox makes the handlers.
func NewOutbox(frame *Frame, mails Mails, clk clock.Clock) *Outbox {
	return &Outbox{frame: frame, mails: mails, clock: clk}
}

// Show is GET /dev/outbox; scripts get {"messages": […]}.
func (o *Outbox) Show(c *fiber.Ctx) error {
	mails, err := o.mails.Mails(mailsShown)
	if err != nil {
		return err
	}
	if wantsJSON(c) {
		return c.JSON(fiber.Map{"messages": mails})
	}
	now := o.clock.Now()
	view := outbox.Outbox{Most: mailsShown}
	for _, m := range mails {
		view.Messages = append(view.Messages, outbox.Message{
			ID: m.ID, To: m.To, Subject: m.Subject, Body: m.Body, At: present.Time(m.At, now)})
	}
	return html(c, fiber.StatusOK, outbox.Page(o.frame.page(c, "Outbox"), view))
}
