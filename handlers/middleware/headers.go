package middleware

import (
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/auth"
)

// Headers sets the security headers of every answer (control 26) and a content
// security policy with a fresh nonce (control 8). A header that the handler
// set itself stays. baseURL is the public address of the server.
//
// The referrer policy is same-origin rather than none: without a referrer
// browsers send Origin: null with form posts, which CSRF must refuse.
func Headers(baseURL string) fiber.Handler {
	socket := "ws" + strings.TrimPrefix(origin(baseURL), "http")
	fixed := map[string]string{
		fiber.HeaderXContentTypeOptions: "nosniff",
		fiber.HeaderXFrameOptions:       "DENY",
		fiber.HeaderReferrerPolicy:      "same-origin",
		"Cross-Origin-Opener-Policy":    "same-origin",
		"Cross-Origin-Resource-Policy":  "same-origin",
		fiber.HeaderPermissionsPolicy:   "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
		// Pages belong to whoever is signed in: after signing out, "back" must
		// not show them. Static files set their own.
		fiber.HeaderCacheControl: "no-store",
	}
	if strings.HasPrefix(baseURL, "https:") {
		fixed[fiber.HeaderStrictTransportSecurity] = "max-age=63072000; includeSubDomains"
	}
	return func(c *fiber.Ctx) error {
		nonce := auth.NewToken().Reveal()
		c.Locals(localNonce, nonce)
		err := c.Next()
		h := &c.Response().Header
		for name, value := range fixed {
			if len(h.Peek(name)) == 0 {
				h.Set(name, value)
			}
		}
		if len(h.Peek(fiber.HeaderContentSecurityPolicy)) == 0 {
			h.Set(fiber.HeaderContentSecurityPolicy, policy(nonce, socket))
		}
		return err
	}
}

func policy(nonce, socket string) string {
	return strings.Join([]string{
		"default-src 'none'",
		"script-src 'self' 'nonce-" + nonce + "'",
		"style-src 'self' 'nonce-" + nonce + "'",
		"img-src 'self'",
		"font-src 'self'",
		// Not every browser counts a socket to the own host as 'self'.
		"connect-src 'self' " + socket,
		"manifest-src 'self'",
		"form-action 'self'",
		"base-uri 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}

// Nonce gives the nonce that this answer's scripts and styles must carry.
func Nonce(c *fiber.Ctx) string {
	nonce, _ := c.Locals(localNonce).(string)
	return nonce
}

// origin gives the scheme and host of a URL in the form of the Origin header.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host
}
