package api

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/internal/fault"
)

// How much a list gives when nothing is asked for, and the most it gives.
const (
	defaultLimit = 10
	maxLimit     = 1000
)

// asked is the part of a request that says which piece of a list it wants.
type asked struct {
	Limit  *int     `json:"limit"`
	Offset *int     `json:"offset"`
	Select []string `json:"select"`
}

// page reads limit and offset: of the query string where a GET lists, else of
// the body.
func page(c *fiber.Ctx) (limit, offset int, err error) {
	var in asked
	if c.Method() == fiber.MethodGet {
		if in.Limit, err = number(c, "limit"); err != nil {
			return 0, 0, err
		}
		if in.Offset, err = number(c, "offset"); err != nil {
			return 0, 0, err
		}
	} else if err = decode(c, &in); err != nil {
		return 0, 0, err
	}
	limit = defaultLimit
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 1 || limit > maxLimit {
		return 0, 0, fault.Invalid("limit", "must be between 1 and "+strconv.Itoa(maxLimit))
	}
	if in.Offset != nil {
		offset = *in.Offset
	}
	if offset < 0 {
		return 0, 0, fault.Invalid("offset", "must not be negative")
	}
	return limit, offset, nil
}

// number reads a whole number of the query string; nil if it is not there.
func number(c *fiber.Ctx, name string) (*int, error) {
	text := c.Query(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, fault.Invalid(name, "must be a whole number")
	}
	return &n, nil
}

// paged tells how many there are in all and, if more are left behind the n that
// are given from offset on, where to go on.
func paged(c *fiber.Ctx, total, offset, n int) {
	c.Set("X-Pagination-Total", strconv.Itoa(total))
	if n > 0 && offset+n < total {
		c.Set("X-Pagination-Next", strconv.Itoa(offset+n))
	}
}

// fields reads which keys of each item are wanted; none means all. The query
// string names them one by one, separated by commas or as a JSON list.
func fields(c *fiber.Ctx) ([]string, error) {
	if c.Method() != fiber.MethodGet {
		var in asked
		err := decode(c, &in)
		return in.Select, err
	}
	var out []string
	for _, raw := range c.Context().QueryArgs().PeekMulti("select") {
		text := string(raw)
		var list []string
		if json.Unmarshal([]byte(text), &list) != nil {
			list = strings.Split(text, ",")
		}
		for _, name := range list {
			if name = strings.TrimSpace(name); name != "" {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

// selected leaves in each item the keys that were asked for; without any it
// gives the items as they are. A name nobody knows selects nothing.
func selected(items []fiber.Map, fields []string) []fiber.Map {
	if len(fields) == 0 {
		return items
	}
	out := make([]fiber.Map, len(items))
	for i, item := range items {
		out[i] = fiber.Map{}
		for _, name := range fields {
			if value, ok := item[name]; ok {
				out[i][name] = value
			}
		}
	}
	return out
}
