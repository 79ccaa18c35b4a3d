package gallery

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/static"
)

// deadline bounds everything one test does in one tab.
const deadline = 90 * time.Second

func builtAssets(t *testing.T) *static.Assets {
	t.Helper()
	assets, err := static.Load(static.Embedded())
	require.NoError(t, err)
	return assets
}

// tab is one page of the browser that remembers every complaint: scripts that
// fail, files that are missing, rules of the policy that were broken.
type tab struct {
	context.Context
	t          *testing.T
	mu         sync.Mutex
	complaints []string
	// expected complaints contain one of these, such as a connection that the
	// test cuts.
	expected []string
}

func openTab(t *testing.T, browser context.Context) *tab {
	t.Helper()
	base, stop := chromedp.NewContext(browser)
	require.NoError(t, chromedp.Do(base))
	ctx, cancel := context.WithTimeout(base, deadline)
	tb := &tab{Context: ctx, t: t}
	var readers sync.WaitGroup
	listen(tb, &readers, chromedp.Events(ctx, log.EntryAdded), func(e log.EventEntryAdded) string {
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
			return e.Entry.Text + " " + e.Entry.URL
		}
		return ""
	})
	listen(tb, &readers, chromedp.Events(ctx, runtime.ExceptionThrown), func(e runtime.EventExceptionThrown) string {
		return e.ExceptionDetails.Text + " " + e.ExceptionDetails.Exception.Description
	})
	listen(tb, &readers, chromedp.Events(ctx, runtime.ConsoleAPICalled), func(e runtime.EventConsoleAPICalled) string {
		if e.Type != runtime.ConsoleAPICalledTypeError {
			return ""
		}
		text := "console:"
		for _, arg := range e.Args {
			text += " " + arg.Description + string(arg.Value)
		}
		return text
	})
	t.Cleanup(func() {
		cancel()
		stop()
		readers.Wait()
		require.Empty(t, tb.unexpected(), "the browser complained")
	})
	tb.run(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{}); err != nil {
			return fmt.Errorf("listening to the log: %w", err)
		}
		_, err := cdp.Call(ctx, target, runtime.Enable, cdp.Empty{})
		return err
	}))
	return tb
}

// listen notes what say makes of each event; it ends with the tab.
func listen[E any](tb *tab, readers *sync.WaitGroup, events iter.Seq2[E, error], say func(E) string) {
	readers.Go(func() {
		for e, err := range events {
			if err != nil {
				return
			}
			if text := say(e); text != "" {
				tb.mu.Lock()
				tb.complaints = append(tb.complaints, text)
				tb.mu.Unlock()
			}
		}
	})
}

func (tb *tab) unexpected() []string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	var left []string
next:
	for _, c := range tb.complaints {
		for _, e := range tb.expected {
			if strings.Contains(c, e) {
				continue next
			}
		}
		left = append(left, c)
	}
	return left
}

func (tb *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	require.NoError(tb.t, chromedp.Do(tb, steps...))
}

// eval gives the value of an expression, which may be a promise.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(tb.t, err, expression)
	return v
}

// do runs a script for its effect.
func (tb *tab) do(script string) {
	tb.t.Helper()
	tb.run(chromedp.Evaluate[chromedp.Void](script))
}

// until waits for an expression to become true.
func (tb *tab) until(expression string) {
	tb.t.Helper()
	var err error
	for range 10 {
		_, err = chromedp.Run(tb, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(30*time.Millisecond), chromedp.WithPollingTimeout(15*time.Second)))
		if err == nil || (!strings.Contains(err.Error(), "navigated") && !strings.Contains(err.Error(), "Cannot find context")) {
			break // else another page has come in place of the one that was asked
		}
	}
	require.NoError(tb.t, err, "waiting for %s; complaints %v", expression, tb.unexpected())
}

// open loads a page and waits until its text has its final shape.
func (tb *tab) open(url string) {
	tb.t.Helper()
	tb.run(chromedp.Navigate(url))
	require.True(tb.t, eval[bool](tb, `document.fonts.ready.then(() => document.fonts.status === "loaded")`))
	tb.until(`document.documentElement.classList.contains("scripted")`)
}

func (tb *tab) photograph(dir, name string) {
	tb.t.Helper()
	png, err := chromedp.Run(tb, chromedp.CaptureScreenshot())
	require.NoError(tb.t, err)
	require.Greater(tb.t, len(png), 5000)
	require.NoError(tb.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

type viewport struct {
	name          string
	width, height int64
	phone         bool
}

var desktop, phone = viewport{"1280", 1280, 800, false}, viewport{"390", 390, 844, true}

func (v viewport) action() chromedp.Action[chromedp.Void] {
	if v.phone {
		return chromedp.EmulateViewport(v.width, v.height, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	return chromedp.EmulateViewport(v.width, v.height)
}

func serve(t *testing.T) (*httptest.Server, *socketServer) {
	t.Helper()
	sockets := newSocketServer()
	mux := http.NewServeMux()
	mux.Handle("/socket/websocket", sockets.handler())
	mux.Handle("/", handler(builtAssets(t)))
	server := httptest.NewServer(mux)
	t.Cleanup(func() { sockets.closeAll(); server.Close() })
	return server, sockets
}

func screenshots(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("..", "..", ".cache", "screenshots")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

// readerUp scrolls to the top as a reader would: with a hand on the wheel until
// the page has noticed. While the page places itself it hears no scrolling.
func (tb *tab) readerUp() {
	tb.t.Helper()
	tb.until(`(() => {
		const view = document.getElementById("scroll");
		view.dispatchEvent(new WheelEvent("wheel"));
		view.scrollTop = view.scrollTop ? 0 : 1;
		return view.dataset.following === "false";
	})()`)
	tb.do(`document.getElementById("scroll").scrollTop = 0`)
}

// shots are the pages that are photographed, by the name of the file.
var shots = map[string]string{"sign-in": "/sign-in", "empty": "/empty", "home": "/home", "streaming": "/threads/t1", "long": "/threads/t3", "error": "/threads/t4",
	"outbox-empty":      "/dev/outbox/empty",
	"audit-broken":      "/admin/audit/broken",
	"read-only":         "/threads/t5",
	"account":           "/account",
	"keys":              "/account/keys",
	"document":          "/knowledge/refunds",
	"not-found":         "/problem/404",
	"switched":          "/problem/409",
	"assistants":        "/admin/assistants",
	"assistant":         "/admin/assistants/a1",
	"assistant-refused": "/admin/assistants/refused",
	"assistant-new":     "/admin/assistants/new",
	"assistant-version": "/admin/assistants/version",
	"assistant-diff":    "/admin/assistants/diff",
	"memory":            "/account/memory",
	"memory-none":       "/account/memory/none",
	"memory-item":       "/account/memory/item",
	"memory-admin":      "/admin/memory",
	"memory-found":      "/admin/memory/found",
	"memory-holder":     "/admin/memory/user/mia",
	"memory-changed":    "/admin/memory/user/mia/item",
	"account-name":      "/account/name",
	"outbox":            "/dev/outbox",
	"audit":             "/admin/audit",
}

func TestPagesFitTheWindowAndArePhotographed(t *testing.T) {
	server, _ := serve(t)
	dir := screenshots(t)
	browser := testbrowser.Start(t)
	taken := maps.Clone(shots)
	maps.Copy(taken, memberShots())
	maps.Copy(taken, reviewShots())
	maps.Copy(taken, studioShots())
	for _, v := range []viewport{desktop, phone} {
		for _, theme := range []string{"light", "dark"} {
			t.Run(v.name+"-"+theme, func(t *testing.T) {
				tb := openTab(t, browser)
				tb.run(v.action())
				for name, path := range taken {
					tb.open(server.URL + path + "?theme=" + theme)
					require.False(t, eval[bool](tb, `document.documentElement.scrollWidth > document.documentElement.clientWidth`), "%s is wider than the window", path)
					tb.photograph(dir, name+"-"+v.name+"-"+theme)
				}
			})
		}
	}
	tb := openTab(t, browser)
	tb.run(phone.action())
	tb.open(server.URL + "/threads/t1?theme=light#threads")
	tb.photograph(dir, "list-390-light")
	tb.open(server.URL + "/threads/t3?theme=light")
	tb.readerUp()
	tb.photograph(dir, "long-top-390-light")
	tb.open(server.URL + "/account/memory?theme=light")
	tb.do(`document.getElementById("forget-confirm").open = true; document.getElementById("forget-confirm").scrollIntoView(false)`)
	tb.photograph(dir, "memory-forget-390-light")
	for _, theme := range []string{"light", "dark"} {
		tb.run(desktop.action())
		tb.open(server.URL + "/admin/memory/user/mia/item?theme=" + theme)
		tb.do(`document.getElementById("delete-confirm").open = true; document.getElementById("delete-confirm").scrollIntoView(false)`)
		tb.photograph(dir, "memory-delete-1280-"+theme)
		tb.open(server.URL + "/threads/t3?theme=" + theme)
		tb.readerUp()
		tb.do(`document.getElementById("step-c1").open = true; document.getElementById("account-menu").open = true; document.getElementById("scroll").scrollTop = 0`)
		tb.photograph(dir, "menus-1280-"+theme)
		tb.do(`document.getElementById("account-menu").open = false; document.getElementById("scroll").scrollTop = 620; document.getElementById("thread-menu").open = true; document.getElementById("delete-confirm").open = true`)
		tb.photograph(dir, "code-1280-"+theme)
	}
}

// violation is what axe-core reports.
type violation struct {
	ID, Help string
	Nodes    []struct {
		HTML           string
		FailureSummary string
	}
}

func TestPagesHaveNoAccessibilityViolations(t *testing.T) {
	axe, err := os.ReadFile(filepath.Join("..", "..", "static", "node_modules", "axe-core", "axe.min.js"))
	require.NoError(t, err, `axe-core is missing: run "go run ./static/build"`)
	server, _ := serve(t)
	browser := testbrowser.Start(t)
	// A tab for each page: more pages never make one test too long.
	for path := range pages(builtAssets(t), "") {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			tb := openTab(t, browser)
			for _, v := range []viewport{desktop, phone} {
				tb.run(v.action())
				for _, theme := range []string{"light", "dark"} {
					tb.open(server.URL + path + "?theme=" + theme)
					tb.do(`for (const d of document.querySelectorAll(".step, .confirm")) d.open = true`)
					tb.do(string(axe))
					raw := eval[string](tb, `Promise.all(document.getAnimations().filter((a) => a instanceof CSSTransition).map((a) => a.finished))
						.then(() => axe.run(document, {resultTypes: ["violations"]})).then((r) => JSON.stringify(r.violations))`)
					var found []violation
					require.NoError(t, json.Unmarshal([]byte(raw), &found))
					for _, f := range found {
						for _, n := range f.Nodes {
							t.Errorf("%s %s %s: %s (%s)\n%s\n%s", v.name, path, theme, f.ID, f.Help, n.HTML, n.FailureSummary)
						}
					}
				}
			}
		})
	}
}
