package gallery

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/internal/testweb"
)

// TestAPageOfAnotherOriginCallsTheAPI has Chromium decide what a page of another
// origin may send and read.
func TestAPageOfAnotherOriginCallsTheAPI(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>elsewhere</title><link rel=icon href='data:,'>"))
	})
	friend, stranger := httptest.NewServer(page), httptest.NewServer(page)
	t.Cleanup(friend.Close)
	t.Cleanup(stranger.Close)
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_CORS_ORIGINS=" + friend.URL}})
	key := s.Key("acme", "mia@acme.test")
	tb := openTab(t, testbrowser.Start(t))
	tb.expected = []string{s.URL()} // the refusals below, which the browser logs

	call := func(path, options string) map[string]any {
		return eval[map[string]any](tb, `fetch("`+s.URL()+path+`", `+options+`).then(async (r) => ({status: r.status, body: await r.json(),
			run: r.headers.get("content-location"), id: r.headers.get("x-request-id")}), (e) => ({failed: String(e)}))`)
	}
	json := `method: "POST", headers: {"content-type": "application/json", "x-api-key": "` + key + `", "x-of-mine": "1"}`

	tb.run(chromedp.Navigate(friend.URL))
	require.EqualValues(t, 200, call("/api/info", `{headers: {"content-type": "application/json"}}`)["status"], "a preflight without a key")
	made := call("/api/threads", `{`+json+`, body: "{}"}`)
	require.EqualValues(t, 200, made["status"])
	thread := made["body"].(map[string]any)["thread_id"].(string)
	run := call("/api/threads/"+thread+"/runs/wait", `{`+json+`, body: JSON.stringify({assistant_id: "echo", input: {messages: [{role: "user", content: "hi"}]}})}`)
	require.EqualValues(t, 200, run["status"])
	require.Contains(t, run["run"], "/threads/"+thread+"/runs/", "the SDK learns the run's id by this header alone")
	require.NotEmpty(t, run["id"])
	plain := call("/api/threads", `{method: "POST", headers: {"x-api-key": "`+key+`"}, body: "{}"}`)
	require.EqualValues(t, 200, plain["status"], "text/plain, as fetch sends a text")
	for path, status := range map[string]int{"/api/threads/" + thread: 401, "/api/nowhere": 404} {
		got := call(path, `{}`)
		require.EqualValues(t, status, got["status"], "a page can read why it was refused")
		require.NotEmpty(t, got["body"].(map[string]any)["detail"])
	}
	require.Contains(t, call("/api/threads/"+thread, `{credentials: "include"}`)["failed"], "Failed to fetch", "never with cookies")

	tb.run(chromedp.Navigate(stranger.URL))
	require.Contains(t, call("/api/info", `{}`)["failed"], "Failed to fetch")
	require.Contains(t, call("/api/threads", `{`+json+`, body: "{}"}`)["failed"], "Failed to fetch")
}
