package api

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/internal/fault"
)

// What one request may bring, beside the bytes of its body that the server
// takes at all. Each is far above what clients send and far below what would
// keep a node or the database busy.
const (
	mostRuns     = 100    // runs of a batch
	mostMessages = 1_000  // messages of an input or an update
	mostIDs      = 1_000  // ids that a search or a cancellation names
	mostNames    = 100    // modes, nodes, fields to select
	mostEntries  = 10_000 // entries of any other list
)

// Bounds refuses a body that is no JSON, is nested too deep or holds a list that
// is too long, whichever route it goes to and whatever its Content-Type claims:
// clients send text/plain to avoid a preflight. It reads the body once and keeps
// nothing of it.
func Bounds(c *fiber.Ctx) error {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return nil
	}
	// Fiber would unpack it, to any size.
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return fault.Invalid(fiber.HeaderContentEncoding, "must be absent: bodies are taken as plain JSON")
	}
	body := c.Request().Body()
	if len(body) == 0 {
		return nil
	}
	if !json.Valid(body) {
		return fault.Invalid("body", "must be JSON")
	}
	return bounded(body)
}

// mostIn is how many entries the list in a field may have.
func mostIn(field string) int {
	switch field {
	case "":
		return mostRuns
	case "input.messages", "values.messages", "command.update.messages":
		return mostMessages
	case "ids", "thread_ids", "run_ids":
		return mostIDs
	case "select", "stream_mode", "interrupt_before", "interrupt_after", "feedback_keys":
		return mostNames
	default:
		return mostEntries
	}
}

// level is an object or a list that the reader is inside of.
type level struct {
	list    bool
	entries int
	most    int
	// key is the name of an object's present field.
	key []byte
}

// bounded walks over valid JSON, byte by byte: a decoder would cost thirty times
// as much.
func bounded(body []byte) error {
	var levels [maxDepth + 1]level
	depth, name := 0, []byte(nil)
	for i := 0; i < len(body); i++ {
		at := &levels[depth]
		switch body[i] {
		case '"':
			from := i + 1
			for i++; body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
			name = body[from:i]
		case ':':
			at.key = name
		case ',':
			at.entries++
			if at.list && at.entries > at.most {
				return fault.Invalid(fieldOf(levels[1:depth]), "must hold at most "+strconv.Itoa(at.most)+" entries")
			}
		case '{', '[':
			if depth == maxDepth {
				return fault.Invalid("body", "must not be nested deeper than "+strconv.Itoa(maxDepth)+" levels")
			}
			list, bound := body[i] == '[', 0
			if list {
				bound = mostAt(levels[1 : depth+1])
			}
			depth++
			// A list that ends at once has none, but no bound is below one.
			levels[depth] = level{list: list, entries: 1, most: bound}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// mostAt is the bound of a list inside of levels. Only fields of the first two
// have one of their own.
func mostAt(inside []level) int {
	if len(inside) > 3 {
		return mostEntries
	}
	return mostIn(pathOf(inside))
}

func fieldOf(inside []level) string {
	if path := pathOf(inside); path != "" {
		return path
	}
	return "body"
}

// pathOf is the dotted name of where one is, lists left out.
func pathOf(inside []level) string {
	var parts []string
	for _, l := range inside {
		if !l.list {
			parts = append(parts, string(l.key))
		}
	}
	return strings.Join(parts, ".")
}
