package api

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
)

// pieces answers with twelve items by the rules of paging.go.
func pieces(c *fiber.Ctx) error {
	limit, offset, err := page(c)
	if err != nil {
		return Fail(c, err)
	}
	names, err := fields(c)
	if err != nil {
		return Fail(c, err)
	}
	items := []fiber.Map{}
	for i := offset; i < 12 && len(items) < limit; i++ {
		items = append(items, fiber.Map{"n": i, "square": i * i})
	}
	paged(c, 12, offset, len(items))
	return c.JSON(selected(items, names))
}

func TestPaging(t *testing.T) {
	app := fiber.New()
	app.Get("/list", pieces)
	app.Post("/list", pieces)
	cases := []struct {
		name, method, query, body string
		status                    int
		total, next, holds        string
	}{
		{"ten by default", "GET", "", "", 200, "12", "10", `{"n":9,"square":81}]`},
		{"ten of a body", "POST", "", "", 200, "12", "10", `{"n":9,"square":81}]`},
		{"null is absent", "POST", "", `{"limit":null,"offset":null,"select":null}`, 200, "12", "10", `{"n":9,"square":81}]`},
		{"the rest has no next", "GET", "?limit=10&offset=10", "", 200, "12", "", `[{"n":10,"square":100},{"n":11,"square":121}]`},
		{"a body's piece", "POST", "", `{"limit":1,"offset":3,"select":["n"]}`, 200, "12", "4", `[{"n":3}]`},
		{"beyond the end", "POST", "", `{"offset":50}`, 200, "12", "", `[]`},
		{"keys one by one", "GET", "?limit=1&select=n&select=square", "", 200, "12", "1", `[{"n":0,"square":0}]`},
		{"keys by commas", "GET", "?limit=1&select=square,colour", "", 200, "12", "1", `[{"square":0}]`},
		{"keys as JSON", "GET", "?limit=1&select=" + `%5B%22n%22%5D`, "", 200, "12", "1", `[{"n":0}]`},
		{"no limit of nothing", "POST", "", `{"limit":0}`, 422, "", "", `"limit":"must be between 1 and 1000"`},
		{"a limit over the most", "GET", "?limit=1001", "", 422, "", "", `"limit":"must be between 1 and 1000"`},
		{"a word for a limit", "GET", "?limit=all", "", 422, "", "", `"limit":"must be a whole number"`},
		{"a negative offset", "POST", "", `{"offset":-1}`, 422, "", "", `"offset":"must not be negative"`},
		{"a word for an offset", "POST", "", `{"offset":"x"}`, 422, "", "", `"offset":"must be a number, not string"`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			res, err := app.Test(httptest.NewRequest(tc.method, "/list"+tc.query, strings.NewReader(tc.body)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tc.status || !strings.Contains(string(body), tc.holds) {
				t.Errorf("%d %s, want %d with %s", res.StatusCode, body, tc.status, tc.holds)
			}
			if got := res.Header.Get("X-Pagination-Total"); got != tc.total {
				t.Errorf("total %q, want %q", got, tc.total)
			}
			if got := res.Header.Get("X-Pagination-Next"); got != tc.next {
				t.Errorf("next %q, want %q", got, tc.next)
			}
		})
	}
}
