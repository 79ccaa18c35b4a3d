package handlers

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/heddle/heddle/agents"
)

// FuzzCursor puts anything into the parameter after: what is no cursor of ours
// means the start, and what is read is written and read again as it was.
func FuzzCursor(f *testing.F) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, cursor := range []any{agents.ItemCursor{UpdatedAt: at, Holder: "h", Namespace: []string{"a", "b"}, Key: "k"}, agents.HoldingCursor{Name: "Olga", Holder: "h"},
		[]int{1}, "x", nil, map[string]any{"UpdatedAt": "yesterday", "Key": "k"}, map[string]any{"Holder": 7}} {
		f.Add(cursorText(cursor))
	}
	f.Add("")
	f.Add("%%%")
	f.Add(base64.StdEncoding.EncodeToString([]byte(`{"Key":"??>"}`)))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"UpdatedAt":"0000-01-01T00:00:00Z","Namespace":null}`)))
	app := fiber.New()
	f.Fuzz(func(t *testing.T, after string) {
		reads[agents.ItemCursor](t, app, after)
		reads[agents.HoldingCursor](t, app, after)
	})
}

func reads[T any](t *testing.T, app *fiber.App, after string) {
	t.Helper()
	read := func(text string) T {
		c := app.AcquireCtx(&fasthttp.RequestCtx{})
		defer app.ReleaseCtx(c)
		c.Request().URI().SetQueryString("after=" + url.QueryEscape(text))
		var into T
		readCursor(c, &into)
		return into
	}
	got := read(after)
	raw, err := base64.RawURLEncoding.DecodeString(after)
	var want T
	if err != nil || json.Unmarshal(raw, &want) != nil {
		var start T
		require.Equal(t, start, got, "%q is no cursor", after)
		return
	}
	require.Equal(t, want, got)
	require.Equal(t, cursorText(got), cursorText(read(cursorText(got))))
	if cursorText(got) != "" {
		require.Equal(t, got, read(cursorText(got)))
	}
}
