package gallery

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/views/chat"
)

// posted is one form that reached the server.
type posted struct {
	path, message, csrf, header, key string
}

// desk is a page with a server that records what is posted.
type desk struct {
	*tab
	url     string
	sockets *socketServer
	posts   chan posted
	status  chan int // the answer to the next posts; a redirect when empty
	// next is where a post leads; titles rename the first thread of the list
	// that the page reads anew.
	next   string
	titles chan string
}

func openDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{sockets: newSocketServer(), posts: make(chan posted, 16), status: make(chan int, 16), next: "/threads/t3", titles: make(chan string, 1)}
	mux := http.NewServeMux()
	mux.Handle("GET /socket/websocket", d.sockets.handler())
	mux.Handle("GET /", handler(builtAssets(t)))
	mux.HandleFunc("GET /threads", func(w http.ResponseWriter, r *http.Request) {
		threads := list(r.URL.Query().Get("active"))
		select {
		case threads.Groups[0].Threads[0].Title = <-d.titles:
		default:
		}
		_, _ = w.Write([]byte(html(chat.ThreadList(threads))))
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		d.posts <- posted{r.URL.Path, r.FormValue("message"), r.FormValue("_csrf"), r.Header.Get("X-CSRF-Token"), r.Header.Get("Idempotency-Key")}
		select {
		case status := <-d.status:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"detail":"The server is full. Try again in a minute."}`))
		default:
			http.Redirect(w, r, d.next, http.StatusSeeOther)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() { d.sockets.closeAll(); server.Close() })
	d.url = server.URL
	d.tab = openTab(t, testbrowser.Start(t))
	d.run(desktop.action())
	return d
}

func (d *desk) post() posted {
	d.t.Helper()
	select {
	case p := <-d.posts:
		return p
	case <-time.After(15 * time.Second):
		require.Fail(d.t, "nothing was posted")
		return posted{}
	}
}

// nothingPosted proves that no form was sent by what was done so far: a marker
// that is posted afterwards arrives first.
func (d *desk) nothingPosted() {
	d.t.Helper()
	d.do(`void fetch("/marker", {method: "POST", redirect: "manual"})`)
	require.Equal(d.t, "/marker", d.post().path)
}

const box = `document.getElementById("composer-text")`

// enter presses Enter with modifiers; code 229 is what an input method sends.
func enter(modifiers, code int64) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
			params := input.DispatchKeyEventParams{Type: kind, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: code, Modifiers: modifiers}
			if code == 13 && kind == input.DispatchKeyEventTypeKeyDown {
				params.Text = "\r"
			}
			if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, params); err != nil {
				return fmt.Errorf("pressing Enter: %w", err)
			}
		}
		return nil
	})
}

func TestEnterSendsAndShiftEnterDoesNot(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t3")
	d.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "one"), enter(8, 13), chromedp.SendKeys(chromedp.CSS("#composer-text"), "two"))
	require.Equal(t, "one\ntwo", eval[string](d.tab, box+`.value`))
	d.nothingPosted()
	d.run(enter(0, 13))
	p := d.post()
	require.Equal(t, "/threads/t3/messages", p.path)
	require.Equal(t, "one\ntwo", p.message)
	require.Equal(t, csrf, p.csrf)
	require.Equal(t, csrf, p.header)
	require.NotEmpty(t, p.key)
	d.until(box + `.value === ""`)
	require.Equal(t, "composer-text", eval[string](d.tab, `document.activeElement.id`))
}

func TestAnEmptyMessageIsNotSent(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t3")
	d.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "   "), enter(0, 13))
	d.nothingPosted()
}

func TestTheEnterOfAnInputMethodNeverSends(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t3")
	d.run(chromedp.Focus(chromedp.CSS("#composer-text")), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, input.ImeSetComposition, input.ImeSetCompositionParams{Text: "にほん", SelectionStart: 3, SelectionEnd: 3})
		return err
	}), enter(0, 229))
	d.do(box + `.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", isComposing: true, bubbles: true, cancelable: true}))`)
	d.nothingPosted()
	d.run(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, input.InsertText, input.InsertTextParams{Text: "日本"})
		return err
	}), enter(0, 13))
	require.Equal(t, "日本", d.post().message)
}

func TestDraftsSurviveAReloadPerThread(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t3")
	d.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "half a thought"))
	d.open(d.url + "/threads/t1")
	require.Empty(t, eval[string](d.tab, box+`.value`))
	d.open(d.url + "/threads/t3")
	require.Equal(t, "half a thought", eval[string](d.tab, box+`.value`))
}

func TestARefusedMessageKeepsItsTextAndItsKey(t *testing.T) {
	d := openDesk(t)
	d.expected = []string{"503"}
	d.open(d.url + "/threads/t3")
	d.status <- http.StatusServiceUnavailable
	d.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "keep me"), enter(0, 13))
	first := d.post()
	d.until(`document.querySelector("[data-error]").textContent.includes("The server is full")`)
	require.Equal(t, "keep me", eval[string](d.tab, box+`.value`))
	d.until(`!("sending" in document.querySelector("[data-composer]").dataset)`)
	d.run(enter(0, 13))
	second := d.post()
	require.Equal(t, first.key, second.key, "a second try of the same text is the same message")
	d.until(box + `.value === ""`)
}

func TestATooLongMessageIsToldBeforeItIsSent(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t3")
	d.do(box + `.value = "x".repeat(10001); ` + box + `.dispatchEvent(new Event("input", {bubbles: true}))`)
	require.Contains(t, eval[string](d.tab, `document.querySelector("[data-count]").textContent`), "10,001 of 10,000")
	d.run(chromedp.Focus(chromedp.CSS("#composer-text")), enter(0, 13))
	d.until(`document.querySelector("[data-error]").textContent.includes("10,001")`)
	d.nothingPosted()
}

func TestStopAndWithdrawPostFromInsidePatchedRegions(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t1")
	d.run(chromedp.Click(chromedp.CSS("#stop")))
	p := d.post()
	require.Equal(t, "/threads/t1/cancel", p.path)
	require.Equal(t, csrf, p.csrf)
	d.run(chromedp.Click(chromedp.CSS("#queued-r9 button[formaction$=withdraw]")))
	p = d.post()
	require.Equal(t, "/threads/t1/queue/r9/withdraw", p.path)
	require.Equal(t, csrf, p.csrf)

	// A queued message is edited in its place; the field closes when it is kept.
	d.run(chromedp.Click(chromedp.CSS("#edit-r9 > summary")))
	d.do(`document.querySelector("#words-r9").value = "other words"`)
	d.run(chromedp.Click(chromedp.CSS("#edit-r9 button")))
	require.Equal(t, "/threads/t1/queue/r9/edit", d.post().path)
	d.until(`!document.querySelector("#edit-r9").open`)
}

func TestAStarterFillsTheBox(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/empty")
	d.run(chromedp.Click(chromedp.CSS(".starter")))
	require.Equal(t, "search for refunds", eval[string](d.tab, box+`.value`))
	d.run(enter(0, 13))
	require.Equal(t, "/threads", d.post().path)
	d.until(`location.pathname === "/threads/t3"`)
}

// growing gives the open message of the streaming page with more text.
func growing(text string) chat.Message {
	t := streaming()
	m := t.Messages[len(t.Messages)-1]
	m.Blocks = chat.Blocks(messages, text)
	return m
}

func TestPatchesLeaveWhatBelongsToTheReader(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t1")
	j := d.sockets.await(t, "thread:t1")
	require.Equal(t, map[string]any{"after": 41.0, "epoch": "e1", "format": "html"}, j.payload)
	d.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "a draft in the making"))
	d.do(box + `.setSelectionRange(2, 7); document.getElementById("step-c2").open = true; document.getElementById("thread-t1").dataset.same = "node"`)
	m := growing("Order 1182 has **two lines**. Now with more.\n\nAnd another paragraph.")
	j.view(t, 42, region{ID: chat.MessageID("m4"), HTML: html(chat.MessageOf(m)), Into: chat.RegionMessages},
		region{ID: chat.RegionActions, HTML: html(chat.ComposerActions("t1", false, false))},
		region{ID: chat.RegionStatus, HTML: html(chat.StatusLine(chat.Status{State: chat.RunIdle, Assistant: "Heddle guide"}))},
		region{ID: chat.RegionTitle, HTML: html(chat.TitleOf("A better title"))},
		region{ID: chat.RegionQueue, HTML: html(chat.Queue("t1", nil))},
		region{ID: chat.RegionThreads, HTML: html(chat.ThreadList(list("")))})
	d.until(`document.getElementById("thread-title").textContent === "A better title"`)
	require.Contains(t, eval[string](d.tab, `document.getElementById("message-m4").textContent`), "And another paragraph.")
	require.Equal(t, "a draft in the making", eval[string](d.tab, box+`.value`))
	require.Equal(t, "2-7", eval[string](d.tab, box+`.selectionStart + "-" + `+box+`.selectionEnd`))
	require.Equal(t, "composer-text", eval[string](d.tab, `document.activeElement.id`))
	require.True(t, eval[bool](d.tab, `document.getElementById("step-c2").open`), "an opened fold stays open")
	require.False(t, eval[bool](d.tab, `document.getElementById("step-c3").open`))
	require.Equal(t, "page", eval[string](d.tab, `document.getElementById("thread-t1").getAttribute("aria-current")`))
	require.Equal(t, "Heddle guide has finished.", eval[string](d.tab, `document.getElementById("announce").textContent`))
	require.Zero(t, eval[int](d.tab, `document.querySelectorAll("#stop, .queued").length`))
	require.Equal(t, "42", eval[string](d.tab, `document.getElementById("work").dataset.seq`))
}

func TestPatchesAreIdempotentAndOldOnesIgnored(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t1")
	j := d.sockets.await(t, "thread:t1")
	fresh := asked("m9", "A new message", "09:50")
	add := region{ID: chat.MessageID("m9"), HTML: html(chat.MessageOf(fresh)), Into: chat.RegionMessages}
	block := region{ID: chat.BlockID("m4", 9), HTML: `<div class="block" id="message-m4-b9"><p>tail</p></div>`, Into: chat.BodyID("m4")}
	j.view(t, 50, add, block)
	j.view(t, 50, add, block)
	j.view(t, 49, region{ID: chat.RegionTitle, HTML: html(chat.TitleOf("Old news"))})
	j.view(t, 51, region{ID: "queued-r9", Remove: true}, region{ID: "nowhere", HTML: "<p>x</p>", Into: "not-there"})
	j.view(t, 52, region{ID: chat.RegionStatus, HTML: html(chat.StatusLine(chat.Status{State: chat.RunFailed, Text: "marker"}))})
	d.until(`document.getElementById("status").textContent.includes("marker")`)
	require.Equal(t, 1, eval[int](d.tab, `document.querySelectorAll("#message-m9").length`))
	require.Equal(t, "tail", eval[string](d.tab, `document.querySelector("#message-m4-body > :last-child").textContent`))
	require.Equal(t, 1, eval[int](d.tab, `document.querySelectorAll("#message-m4-b9").length`))
	require.Equal(t, "Refund for order 1182", eval[string](d.tab, `document.getElementById("thread-title").textContent`))
	require.Zero(t, eval[int](d.tab, `document.querySelectorAll("#queued-r9").length`))
}

func TestTheViewFollowsOnlyAReaderAtTheEnd(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t1")
	j := d.sockets.await(t, "thread:t1")
	const gap = `Math.round(document.getElementById("scroll").scrollHeight - document.getElementById("scroll").scrollTop - document.getElementById("scroll").clientHeight)`
	text := "Start."
	grow := func(seq int) {
		for range 12 {
			text += "\n\nOne more paragraph that takes its place."
		}
		j.view(t, seq, region{ID: chat.MessageID("m4"), HTML: html(chat.MessageOf(growing(text)))})
		d.until(fmt.Sprintf(`document.getElementById("work").dataset.seq === "%d"`, seq))
	}
	grow(42)
	d.until(gap + ` < 4`)
	// The reader goes up with the wheel; text goes on coming.
	d.run(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseWheel, X: 800, Y: 400, DeltaX: 0.1, DeltaY: -300})
		return err
	}))
	d.until(`document.getElementById("scroll").dataset.following === "false"`)
	d.until(gap + ` >= 250`)
	before := eval[float64](d.tab, `document.getElementById("scroll").scrollTop`)
	grow(43)
	d.until(`!document.querySelector("[data-jump]").hidden`)
	require.InDelta(t, before, eval[float64](d.tab, `document.getElementById("scroll").scrollTop`), 2)
	d.run(chromedp.Click(chromedp.CSS("[data-jump]")))
	d.until(gap + ` < 4 && document.querySelector("[data-jump]").hidden`)
	grow(44)
	d.until(gap + ` < 4`)
}

func TestALostConnectionIsToldAndTakenUpWhereItWas(t *testing.T) {
	d := openDesk(t)
	d.expected = []string{"WebSocket connection to", "503"}
	d.open(d.url + "/threads/t1")
	j := d.sockets.await(t, "thread:t1")
	j.view(t, 60, region{ID: chat.RegionTitle, HTML: html(chat.TitleOf("Before"))})
	d.until(`document.getElementById("thread-title").textContent === "Before"`)
	d.sockets.setDown(true)
	d.sockets.closeAll()
	d.until(`!document.getElementById("reconnect").hidden`)
	require.Regexp(t, `^Offline, trying again (in \d+ s|now)\. What you write is kept\.$`, eval[string](d.tab, `document.querySelector("[data-reconnect-text]").textContent`))
	d.photograph(screenshots(t), "offline-1280-light")
	d.sockets.setDown(false)
	again := d.sockets.await(t, "thread:t1")
	require.Equal(t, map[string]any{"after": 60.0, "epoch": "e1", "format": "html"}, again.payload)
	d.until(`document.getElementById("reconnect").hidden`)
	again.view(t, 61, region{ID: chat.RegionTitle, HTML: html(chat.TitleOf("After"))})
	d.until(`document.getElementById("thread-title").textContent === "After"`)
	again.push(t, "lag", map[string]any{})
	require.Equal(t, 61.0, d.sockets.await(t, "thread:t1").payload["after"])
}

func TestTheListOfThreadsIsReadAnewWhenThePersonsTopicSaysSo(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t1")
	j := d.sockets.await(t, "user")
	d.titles <- "Renamed elsewhere"
	j.push(t, "notice", map[string]any{})
	d.until(`document.querySelector("#thread-t1 .list-title").textContent === "Renamed elsewhere"`)
	require.Equal(t, "page", eval[string](d.tab, `document.getElementById("thread-t1").getAttribute("aria-current")`))
}

func TestKeysDoWhatTheSheetSays(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t3")
	press := func(init string) {
		d.do(`document.body.dispatchEvent(new KeyboardEvent("keydown", {bubbles: true, cancelable: true, ` + init + `}))`)
	}
	press(`key: "?"`)
	d.until(`document.getElementById("shortcuts").open`)
	require.Equal(t, 19, eval[int](d.tab, `document.querySelectorAll("[data-shortcut-list] dt").length`))
	d.photograph(screenshots(t), "shortcuts-1280-light")
	d.run(chromedp.KeyEvent(kb.Escape))
	d.until(`!document.getElementById("shortcuts").open`)
	press(`key: "k", ctrlKey: true`)
	require.Equal(t, "thread-search", eval[string](d.tab, `document.activeElement.id`))
	press(`key: "Escape", shiftKey: true`)
	require.Equal(t, "composer-text", eval[string](d.tab, `document.activeElement.id`))
	d.do(`document.getElementById("thread-menu").open = true`)
	press(`key: "Escape"`)
	require.False(t, eval[bool](d.tab, `document.getElementById("thread-menu").open`))
}

func TestSingleKeysRestWhereAPersonTurnedThemOff(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/account/name")
	require.Equal(t, 10, eval[int](d.tab, `document.querySelectorAll("[data-shortcut-list] dt").length`), "the sheet does not promise them")
	d.do(`document.body.dispatchEvent(new KeyboardEvent("keydown", {bubbles: true, cancelable: true, key: "?"}))`)
	require.False(t, eval[bool](d.tab, `document.getElementById("shortcuts").open`))
	d.do(`document.getElementById("account-menu").open = true; document.querySelector('[data-dialog="shortcuts"]').click()`)
	require.True(t, eval[bool](d.tab, `document.getElementById("shortcuts").open`), "the menu still opens the sheet")
}

func TestChosenColoursShowAtOnce(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/account?theme=light")
	d.run(chromedp.Click(chromedp.CSS(`.theme-choice [value="dark"]`)))
	require.Equal(t, "/account/theme", d.post().path)
	require.Equal(t, "dark", eval[string](d.tab, `document.documentElement.dataset.theme`))
	require.Equal(t, 2, eval[int](d.tab, `document.querySelectorAll('[value="dark"][aria-pressed="true"]').length`))
}

func TestAFoldTheReaderOpensDoesNotScrollAway(t *testing.T) {
	d := openDesk(t)
	d.open(d.url + "/threads/t1")
	d.run(chromedp.Click(chromedp.CSS("#step-c2 summary")))
	d.until(`document.getElementById("step-c2").open`)
	require.True(t, eval[bool](d.tab, `document.querySelector("#step-c2 summary").getBoundingClientRect().top > 52`))
}

func TestEverythingPostsWithoutScript(t *testing.T) {
	d := openDesk(t)
	d.run(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}))
	d.next = "/account"
	visit := func(path string) { d.run(chromedp.Navigate(d.url + path)) }
	arrived := chromedp.WaitVisible(chromedp.CSS("main.account"))
	visit("/threads/t1")
	d.photograph(screenshots(t), "without-script-1280-light")
	boxes, err := chromedp.Run(d.tab, chromedp.Evaluate[int](`[...document.querySelectorAll(".script-only")].filter((e) => e.offsetParent).length`))
	require.NoError(t, err)
	require.Zero(t, boxes, "what only a script can do is not offered")
	d.run(chromedp.Click(chromedp.CSS("#stop")))
	p := d.post()
	require.Equal(t, posted{path: "/threads/t1/cancel", csrf: csrf}, p)
	d.run(arrived)
	visit("/threads/t1")
	d.run(chromedp.Click(chromedp.CSS("#queued-r9 button[formaction$=withdraw]")))
	require.Equal(t, posted{path: "/threads/t1/queue/r9/withdraw", csrf: csrf}, d.post())
	d.run(arrived)
	visit("/threads/t3")
	d.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "by form"), chromedp.Click(chromedp.CSS("#send")))
	require.Equal(t, posted{path: "/threads/t3/messages", message: "by form", csrf: csrf}, d.post())
	d.run(arrived)
	visit("/threads/t3")
	d.run(chromedp.Click(chromedp.CSS("#thread-menu > summary")), chromedp.Click(chromedp.CSS("#delete-confirm > summary")), chromedp.Click(chromedp.CSS("#delete-confirm .btn-danger")))
	require.Equal(t, posted{path: "/threads/t3/delete", csrf: csrf}, d.post())
	d.run(arrived)
	visit("/account/memory")
	d.run(chromedp.Click(chromedp.CSS("#forget-confirm > summary")), chromedp.Click(chromedp.CSS("#forget-confirm .btn-danger")))
	require.Equal(t, posted{path: "/account/memory/forget", csrf: csrf}, d.post())
	d.run(arrived)
	visit("/account/memory/item")
	d.run(chromedp.Click(chromedp.CSS("#delete-confirm > summary")), chromedp.Click(chromedp.CSS("#delete-confirm .btn-danger")))
	require.Equal(t, posted{path: "/account/memory/item/delete", csrf: csrf}, d.post())
	d.run(arrived)
	visit("/empty")
	d.run(chromedp.Click(chromedp.CSS(".starter")))
	require.Equal(t, posted{path: "/threads", message: "search for refunds", csrf: csrf}, d.post())
	d.run(arrived)
}
