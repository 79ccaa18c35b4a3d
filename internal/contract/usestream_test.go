package contract

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/evanw/esbuild/pkg/api"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/internal/testweb"
)

// TestUseStreamWorksInABrowser opens a page that knows the SDK's React hook and
// nothing of this server, from another origin and with a key, in Chromium.
func TestUseStreamWorksInABrowser(t *testing.T) {
	t.Parallel()
	browser := testbrowser.Start(t)
	t.Run("of", func(t *testing.T) {
		for _, line := range lines {
			t.Run("langgraph-sdk "+line, func(t *testing.T) {
				t.Parallel()
				install(t, "sdk-"+line)
				pages := httptest.NewServer(chatPage(bundle(t, "sdk-"+line)))
				t.Cleanup(pages.Close)
				s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_CORS_ORIGINS=" + pages.URL}})
				u := &hooked{s: s, pages: pages.URL, mia: s.Key("acme", "mia@acme.test", auth.ScopeRun, auth.ScopeReview),
					ray: s.Key("acme", "ray@acme.test", auth.ScopeRun, auth.ScopeReview), slower: slower(t, s)}
				for _, history := range []string{"on", "off"} {
					t.Run("history "+history, func(t *testing.T) {
						t.Parallel()
						u := *u
						u.history, u.readsOnce = history, line == "2.0.0" && history == "off"
						t.Run("messages stream", func(t *testing.T) { u.streams(t, openTab(t, browser)) })
						t.Run("stop", func(t *testing.T) { u.stops(t, openTab(t, browser)) })
						t.Run("reload in the middle", func(t *testing.T) { u.reloads(t, openTab(t, browser)) })
						t.Run("a failing run", func(t *testing.T) { u.fails(t, openTab(t, browser), openTab(t, browser)) })
						t.Run("a question", func(t *testing.T) { u.asks(t, openTab(t, browser)) })
						t.Run("a review", func(t *testing.T) { u.reviews(t, openTab(t, browser), openTab(t, browser)) })
						if history == "on" { // what it needs stands in the history
							t.Run("edit, regenerate and branches", func(t *testing.T) { u.branches(t, openTab(t, browser)) })
						}
					})
				}
			})
		}
	})
}

// bundle builds the page with the SDK and React of a folder.
func bundle(t *testing.T, sdk string) []byte {
	t.Helper()
	modules, err := filepath.Abs(filepath.Join(sdk, "node_modules"))
	require.NoError(t, err)
	result := api.Build(api.BuildOptions{
		EntryPoints: []string{"page/chat.jsx"}, Outfile: "chat.js", Bundle: true, Platform: api.PlatformBrowser, Format: api.FormatESModule,
		Target: api.ES2022, JSX: api.JSXAutomatic, NodePaths: []string{modules}, Define: map[string]string{"process.env.NODE_ENV": `"production"`},
		LegalComments: api.LegalCommentsNone,
	})
	require.Empty(t, result.Errors)
	require.Len(t, result.OutputFiles, 1)
	return result.OutputFiles[0].Contents
}

func chatPage(script []byte) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /chat.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(script)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><meta charset=utf-8><title>Chat</title><link rel=icon href="data:,"><div id=root></div><script type=module src=chat.js></script>`))
	})
	return mux
}

// hooked is a server and the page that uses it.
type hooked struct {
	s       *testweb.Server
	pages   string
	history string
	// readsOnce is how the older line is without the history: it reads the head
	// when it mounts, and shows what was open there until it mounts anew.
	readsOnce bool
	// mia asks, ray decides.
	mia, ray string
	// slower is an assistant that takes its time, so that a crowded machine can
	// meet it midway.
	slower string
}

func slower(t *testing.T, s *testweb.Server) string {
	t.Helper()
	var made struct {
		ID string `json:"assistant_id"`
	}
	s.API(s.Key("acme", "ada@acme.test", auth.KeyScopes()...), http.MethodPost, "/api/assistants",
		map[string]any{"graph_id": "slow", "config": map[string]any{"configurable": map[string]any{"pause_ms": 200}}}).JSON(t, &made)
	require.NotEmpty(t, made.ID)
	return made.ID
}

const settled = `document.querySelector("main")?.dataset.loading === "false"`

// open shows a thread, or none, to whom a key belongs.
func (u *hooked) open(tb *tab, key, assistant, thread string) {
	tb.t.Helper()
	q := url.Values{"api": {u.s.URL() + "/api"}, "key": {key}, "assistant": {assistant}, "history": {u.history}}
	if thread != "" {
		q.Set("thread", thread)
	}
	require.NoError(tb.t, chromedp.Do(tb, chromedp.Navigate(u.pages+"/?"+q.Encode())))
	tb.until(settled)
}

// thread is the one that the page is on.
func (u *hooked) thread(tb *tab) string {
	tb.t.Helper()
	thread := eval[string](tb, `new URLSearchParams(location.search).get("thread") ?? ""`)
	require.NotEmpty(tb.t, thread, "the page is on a thread")
	return thread
}

// shows waits until the page rests and its messages are these.
func (u *hooked) shows(tb *tab, texts ...string) {
	tb.t.Helper()
	tb.until(fmt.Sprintf(`%s && JSON.stringify([...document.querySelectorAll("li > p")].map((p) => p.textContent)) === JSON.stringify([%s])`, settled, quoted(texts)))
}

// answered waits until the last message is an answer and no question is open.
func (u *hooked) answered(tb *tab) {
	tb.t.Helper()
	answer := settled + ` && document.querySelector("li:last-child")?.className === "ai" && ` + says + ` !== ""`
	tb.until(answer)
	if u.readsOnce {
		require.NoError(tb.t, chromedp.Do(tb, chromedp.Reload()))
	}
	tb.until(answer + ` && !document.querySelector("section")`)
}

func quoted(texts []string) string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = fmt.Sprintf("%q", text)
	}
	return strings.Join(out, ",")
}

// says is the text of the last message so far.
const says = `[...document.querySelectorAll("li > p")].at(-1)?.textContent`

// midway waits until the page shows the beginning of a slow answer and not its
// end.
func (u *hooked) midway(tb *tab) {
	tb.t.Helper()
	tb.until(fmt.Sprintf(`(() => { const text = %s ?? ""; return document.querySelector(".stop") && text.startsWith("token0 token1 ") && !text.includes("token19") })()`, says))
}

func slowly() string {
	var out strings.Builder
	for i := range 20 {
		fmt.Fprintf(&out, "token%d ", i)
	}
	return out.String()
}

// status is the thread's, as the API tells it.
func (u *hooked) status(t *testing.T, thread string) string {
	t.Helper()
	var got struct{ Status string }
	u.s.API(u.mia, http.MethodGet, "/api/threads/"+thread, nil).JSON(t, &got)
	return got.Status
}

// runs are the statuses of a thread's runs, newest first.
func (u *hooked) runs(t *testing.T, thread string) []string {
	t.Helper()
	var got []struct{ Status string }
	u.s.API(u.mia, http.MethodGet, "/api/threads/"+thread+"/runs", nil).JSON(t, &got)
	out := []string{}
	for _, r := range got {
		out = append(out, r.Status)
	}
	return out
}

func (u *hooked) streams(t *testing.T, tb *tab) {
	u.open(tb, u.mia, "slow", "")
	require.NoError(t, chromedp.Do(tb, chromedp.Evaluate[chromedp.Void](`{
		window.seen = new Set(); window.ids = new Set();
		new MutationObserver(() => { seen.add(document.querySelector("li.ai > p")?.textContent); ids.add(document.querySelector("li.ai")?.id) })
			.observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
	}`)))
	tb.write(".send", "hello")
	u.shows(tb, "hello", slowly())
	require.Greater(t, eval[int](tb, `seen.size`), 4, "it came in pieces")
	require.Equal(t, 1, eval[int](tb, `[...ids].filter((id) => id).length`), "the id of the message did not change")
	u.open(tb, u.mia, "echo", u.thread(tb))
	tb.write(".send", "again")
	u.shows(tb, "hello", slowly(), "again", "echo: again")
	require.False(t, eval[bool](tb, `!!document.querySelector("output")`), "no error is shown")
}

func (u *hooked) stops(t *testing.T, tb *tab) {
	u.open(tb, u.mia, u.slower, "")
	tb.write(".send", "hello")
	u.midway(tb)
	tb.click(".stop")
	tb.until(settled + ` && !document.querySelector("output")`)
	thread := u.thread(tb)
	u.s.Eventually("the run is stopped, not only its display", func() bool { return u.runs(t, thread)[0] == "interrupted" })
	u.open(tb, u.mia, "echo", thread)
	require.Equal(t, "2 false", eval[string](tb, `document.querySelectorAll("li").length + " " + !!document.querySelector("section, output")`), "what was said stays, and nothing waits")
	tb.write(".send", "go on")
	tb.until(settled + ` && ` + says + ` === "echo: go on"`)
	require.False(t, eval[bool](tb, `!!document.querySelector("output")`), "no error is shown")
	require.Equal(t, "idle", u.status(t, thread))
}

func (u *hooked) reloads(t *testing.T, tb *tab) {
	u.open(tb, u.mia, u.slower, "")
	tb.write(".send", "hello")
	u.midway(tb)
	thread := u.thread(tb)
	require.NoError(t, chromedp.Do(tb, chromedp.Reload()))
	u.midway(tb)
	u.shows(tb, "hello", slowly())
	require.Equal(t, []string{"success"}, u.runs(t, thread), "it joined the run and began no other")
	require.NoError(t, chromedp.Do(tb, chromedp.Reload()))
	u.shows(tb, "hello", slowly())
}

func (u *hooked) fails(t *testing.T, tb, another *tab) {
	boom := settled + ` && document.querySelector("output")?.textContent.includes("boom") && !document.querySelector("section")`
	u.open(tb, u.mia, "failing", "")
	tb.write(".send", "hello")
	tb.until(boom)
	thread := u.thread(tb)
	require.NoError(t, chromedp.Do(tb, chromedp.Reload()))
	tb.until(boom)
	u.open(another, u.mia, "echo", thread) // it knows of no run that it could join
	another.until(boom)
	another.write(".send", "again")
	another.until(settled + ` && ` + says + ` === "echo: again"`)
	if u.readsOnce {
		require.NoError(t, chromedp.Do(another, chromedp.Reload()))
	}
	another.until(settled + ` && ` + says + ` === "echo: again" && !document.querySelector("output")`)
}

func (u *hooked) asks(t *testing.T, tb *tab) {
	u.open(tb, u.mia, "approval", "")
	tb.write(".send", "water the plants")
	tb.until(settled + ` && document.querySelector("section > pre")?.textContent.includes("water the plants")`)
	thread := u.thread(tb)
	require.NoError(t, chromedp.Do(tb, chromedp.Reload()))
	tb.until(settled + ` && document.querySelector("section > pre")?.textContent.includes("water the plants")`)
	tb.click(".approve")
	u.answered(tb)
	require.Contains(t, eval[string](tb, says), "The answer was")
	require.Equal(t, "idle", u.status(t, thread))
	require.Equal(t, 1, eval[int](tb, `document.querySelectorAll("li.human").length`), "it went on and did not begin again")
}

func (u *hooked) reviews(t *testing.T, mias, rays *tab) {
	var found []struct {
		ID string `json:"assistant_id"`
	}
	u.s.API(u.mia, http.MethodPost, "/api/assistants/search", map[string]any{"name": "Heddle guide"}).JSON(t, &found)
	require.Len(t, found, 1)
	u.open(mias, u.mia, found[0].ID, "")
	mias.write(".send", "email bob@example.com that we ship on friday")
	waits := settled + ` && document.querySelector("section > pre")?.textContent.includes("bob@example.com")`
	mias.until(waits)
	mias.click(".approve")
	mias.until(settled + ` && document.querySelector("output")?.textContent.includes("Four eyes")`)
	thread := u.thread(mias)
	require.Equal(t, "interrupted", u.status(t, thread))
	var waiting []struct {
		ID string `json:"thread_id"`
	}
	u.s.API(u.ray, http.MethodPost, "/api/threads/search", map[string]any{"status": "interrupted", "metadata": map[string]any{"assistant_id": found[0].ID}}).JSON(t, &waiting)
	require.Contains(t, fmt.Sprint(waiting), thread, "who may decide finds what waits")
	u.open(rays, u.ray, found[0].ID, thread)
	rays.until(waits)
	rays.click(".reject")
	u.answered(rays)
	require.Contains(t, eval[string](rays, says), "Not today.")
	require.NoError(t, chromedp.Do(mias, chromedp.Reload()))
	u.answered(mias)
	require.Equal(t, eval[string](rays, says), eval[string](mias, says))
	require.Equal(t, "idle", u.status(t, thread))
}

func (u *hooked) branches(t *testing.T, tb *tab) {
	u.open(tb, u.mia, "echo", "")
	tb.write(".send", "one")
	u.shows(tb, "one", "echo: one")
	tb.write(".send", "two")
	u.shows(tb, "one", "echo: one", "two", "echo: two")

	tb.write("li:nth-child(3) .edit", "three")
	u.shows(tb, "one", "echo: one", "three", "echo: three")
	tb.until(`document.querySelectorAll("li:nth-child(3) .branch").length === 2`)
	tb.click(`li:nth-child(3) .branch[aria-pressed="false"]`)
	u.shows(tb, "one", "echo: one", "two", "echo: two")
	tb.click(`li:nth-child(3) .branch[aria-pressed="false"]`)
	u.shows(tb, "one", "echo: one", "three", "echo: three")

	answer := eval[string](tb, `document.querySelector("li:nth-child(4)").id`)
	tb.click("li:nth-child(4) .regenerate")
	tb.until(settled + ` && document.querySelectorAll("li").length === 4 && document.querySelector("li:nth-child(4)").id !== "` + answer + `"`)
	u.shows(tb, "one", "echo: one", "three", "echo: three")
	tb.until(`document.querySelectorAll("li:nth-child(4) .branch").length === 2`)
	again := eval[string](tb, `document.querySelector("li:nth-child(4)").id`)
	require.NoError(t, chromedp.Do(tb, chromedp.Reload()))
	u.shows(tb, "one", "echo: one", "three", "echo: three")
	require.Equal(t, again, eval[string](tb, `document.querySelector("li:nth-child(4)").id`), "the newest answer is what a reload shows")
	tb.write(".send", "four")
	u.shows(tb, "one", "echo: one", "three", "echo: three", "four", "echo: four")
	require.False(t, eval[bool](tb, `!!document.querySelector("output")`), "no error is shown")
}
