package handlers

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/views/knowledge"
	"github.com/heddle/heddle/views/markdown"
)

// Document is one document of an organisation; Body is Markdown.
type Document struct {
	Title, Body string
	UpdatedAt   time.Time
}

// Documents reads documents.
type Documents interface {
	Document(ctx context.Context, scope auth.Scope, slug string) (Document, error)
}

// Knowledge serves the documents that search finds.
type Knowledge struct {
	frame     *Frame
	documents Documents
	markdown  *markdown.Renderer
	clock     clock.Clock
}

// NewKnowledge makes the handlers.
func NewKnowledge(frame *Frame, documents Documents, md *markdown.Renderer, clk clock.Clock) *Knowledge {
	return &Knowledge{frame: frame, documents: documents, markdown: md, clock: clk}
}

// Show is GET /knowledge/:slug.
func (k *Knowledge) Show(c *fiber.Ctx) error {
	d, err := k.documents.Document(c.UserContext(), middleware.Scope(c), utils.CopyString(c.Params("slug")))
	if err != nil {
		return err
	}
	p := k.frame.page(c, d.Title)
	return html(c, fiber.StatusOK, knowledge.DocumentPage(p, knowledge.Document{
		Title: d.Title, Body: k.markdown.Render(d.Body), Updated: present.Time(d.UpdatedAt, k.clock.Now()), Source: p.Org.Name}))
}
