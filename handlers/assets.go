package handlers

import (
	"io/fs"
	"mime"
	"path"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/static"
)

// Assets serves the built files. Their names carry a hash of their content, so
// browsers may keep them for ever; the compressed forms were made at build time.
func Assets(assets *static.Assets) fiber.Handler {
	return func(c *fiber.Ctx) error {
		file, encoding, ok := assets.Pick(utils.CopyString(c.Params("*")), c.Get(fiber.HeaderAcceptEncoding))
		if !ok {
			return fault.NotFound("File")
		}
		body, err := fs.ReadFile(assets.Files(), file)
		if err != nil {
			return err
		}
		if encoding != "" {
			c.Set(fiber.HeaderContentEncoding, encoding)
		}
		c.Set(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
		c.Set(fiber.HeaderCacheControl, "public, max-age=31536000, immutable")
		c.Set(fiber.HeaderContentType, contentType(c.Params("*")))
		return c.Send(body)
	}
}

// contentType goes by the ending of the plain file; system tables of types
// differ between machines, so the ones we serve are named here.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".woff2":
		return "font/woff2"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return fiber.MIMEOctetStream
}
