package middleware

import (
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Where the CSRF token of an unsafe request is looked for.
const (
	CSRFHeader = "X-CSRF-Token"
	CSRFField  = "_csrf"
)

// CSRFToken gives a token for the forms of this answer.
func (m *Identity) CSRFToken(c *fiber.Ctx) string { return m.csrf.Token(Scope(c)) }

// checkForgery guards every method that may change something (control 6): what
// the browser itself says about the request's origin must not contradict, and
// the token must be this session's for this organisation. Programs without
// these headers still need the token.
func (m *Identity) checkForgery(c *fiber.Ctx, scope auth.Scope) error {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return nil
	}
	foreign := fault.Forbidden("This request came from another site.").WithCode(auth.CodeCSRF)
	if from := c.Get(fiber.HeaderOrigin); from != "" && from != m.origin {
		return foreign
	}
	switch strings.ToLower(c.Get("Sec-Fetch-Site")) {
	case "", "same-origin", "none":
	default:
		return foreign
	}
	token := c.Get(CSRFHeader)
	if token == "" {
		token = c.FormValue(CSRFField)
	}
	return m.csrf.Verify(scope, utils.CopyString(token))
}
