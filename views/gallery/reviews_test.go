package gallery

import (
	"encoding/hex"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/internal/testweb"
)

const (
	scripted = `document.documentElement.classList.contains("scripted")`
	// ctrl is the modifier that goes with Enter.
	ctrl = 2
)

// TestAReviewByKeyboardAlone goes from the queue, which fills without a reload,
// through an edit to the next request and back, without a pointer.
func TestAReviewByKeyboardAlone(t *testing.T) {
	server := testweb.Start(t, testweb.Options{})
	mia, ray := server.SignIn("mia@acme.test"), server.Scope("acme", "ray@acme.test")
	tb := openTab(t, testbrowser.Start(t))
	tb.run(desktop.action())
	tb.open(server.URL() + "/auth/dev?login_hint=ray@acme.test")
	tb.open(server.URL() + "/reviews")
	require.True(t, eval[bool](tb, `document.querySelector(".empty")?.textContent.includes("Nothing waits")`))
	tb.do(`window.opened = true`)

	// Requests open: the list, the number in the rail and one polite sentence.
	_, first := server.AskForReview(mia, ray, "email bob@example.com that we ship on friday")
	row := func(r agents.Review) string { return `document.getElementById("review-` + string(r.ID) + `")` }
	tb.until(row(first) + ` !== null && document.getElementById("review-count").textContent === "1"`)
	tb.until(`document.getElementById("announce").textContent === "One request waits for a review."`)
	tb.run(chromedp.KeyEvent("j"))
	require.True(t, eval[bool](tb, `document.activeElement === `+row(first)))
	_, second := server.AskForReview(mia, ray, "email bob@example.com that we ship on monday")
	tb.until(row(second) + ` !== null && document.getElementById("review-count").textContent === "2"`)
	require.True(t, eval[bool](tb, `document.activeElement === `+row(first)), "the selection stays where it was")
	tb.run(chromedp.KeyEvent("j"))
	require.True(t, eval[bool](tb, `document.activeElement === `+row(second)))
	tb.run(chromedp.KeyEvent("k"), chromedp.KeyEvent("?"))
	tb.until(`document.getElementById("shortcuts").open && document.getElementById("shortcuts").textContent.includes("Edit and approve")`)
	tb.run(chromedp.KeyEvent("j"))
	tb.do(`document.getElementById("shortcuts").close()`)
	require.True(t, eval[bool](tb, `document.activeElement === `+row(first)), "letters do nothing over a dialog")
	require.True(t, eval[bool](tb, `window.opened`), "all that without a reload")

	// Enter opens; e goes to the form, and whoever types holds the request.
	at := func(r agents.Review) string {
		return `location.pathname === "/reviews/` + string(r.ID) + `" && ` + scripted
	}
	tb.run(enter(0, 13))
	tb.until(at(first))
	tb.run(chromedp.KeyEvent("e"))
	require.Equal(t, "arg/to", eval[string](tb, `document.activeElement.name`))
	tb.do(`document.getElementById("arg-body").focus()`)
	tb.run(chromedp.SendKeys(chromedp.CSS("#arg-body"), " A and R are letters here."))
	tb.until(`document.querySelector("#arg-body").closest(".field").querySelector("ins")?.textContent.includes("letters")`)
	tb.until(`document.getElementById("review-state").textContent.includes("You hold this request")`)
	require.True(t, eval[bool](tb, `document.getElementById("decide-approve").disabled`), "what was changed can't be approved as it was")
	tb.run(enter(ctrl, 13))
	tb.until(at(second))
	require.Contains(t, eval[string](tb, `document.querySelector(".notice-good").textContent`), "Approved with changes: send_email for Mia.")
	server.Eventually("the mail is sent", func() bool { return len(server.Mails(mia)) == 1 })
	require.Contains(t, server.Mails(mia)[0].Body, "A and R are letters here.")

	// r and s open their panels; a approves, and nothing is left.
	tb.run(chromedp.KeyEvent("s"))
	require.Equal(t, "respond-text", eval[string](tb, `document.activeElement.id`))
	tb.do(`document.activeElement.blur()`)
	tb.run(chromedp.KeyEvent("r"))
	require.Equal(t, "reject-text", eval[string](tb, `document.activeElement.id`))
	tb.do(`document.activeElement.blur()`)
	tb.run(chromedp.KeyEvent("a"))
	tb.until(`location.pathname === "/reviews" && ` + scripted + ` && document.querySelector(".empty") !== null`)
	server.Eventually("both are sent", func() bool { return len(server.Mails(mia)) == 2 })
}

// TestAnOpenRequestLearnsThatSomebodyWasFaster has two reviewers at one request.
func TestAnOpenRequestLearnsThatSomebodyWasFaster(t *testing.T) {
	server := testweb.Start(t, testweb.Options{})
	mia, ada := server.SignIn("mia@acme.test"), server.SignIn("ada@acme.test")
	thread, r := server.AskForReview(mia, server.Scope("acme", "ray@acme.test"), "email bob@example.com that we ship on friday")
	browser := testbrowser.Start(t)
	tb := openTab(t, browser)
	tb.run(desktop.action())
	tb.open(server.URL() + "/auth/dev?login_hint=ray@acme.test")
	tb.open(server.URL() + "/reviews/" + string(r.ID))
	tb.until(`document.getElementById("review-state").textContent.includes("Nobody holds")`)
	server.Post(ada, "/reviews/"+string(r.ID)+"/claim", nil)
	tb.until(`document.getElementById("review-state").textContent.includes("Ada holds this request")`)
	server.Post(mia, "/threads/"+thread+"/cancel", nil)
	tb.until(`document.getElementById("review-state").textContent.includes("Withdrawn by Mia")`)
	tb.until(`document.getElementById("decide-approve").disabled && document.getElementById("review-count").hidden`)
}

// TestAThreadShowsLiveWhoDecides is the page of whoever asked, from the call to
// what became of it.
func TestAThreadShowsLiveWhoDecides(t *testing.T) {
	server := testweb.Start(t, testweb.Options{})
	tb := openTab(t, testbrowser.Start(t))
	tb.run(desktop.action())
	tb.open(server.URL() + "/auth/dev?login_hint=mia@acme.test")
	tb.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "email bob@example.com that we ship on friday"), enter(0, 13))
	tb.until(`location.pathname.startsWith("/threads/") && document.querySelector(".step-review-open")?.textContent.includes("due in")`)
	tb.until(`document.getElementById("status").textContent.trim() === "Waiting for review"`)
	require.False(t, eval[bool](tb, `document.querySelector(".step-review .for-reviewers").checkVisibility()`), "the link is for reviewers")
	tb.do(`window.opened = true`)
	var open []agents.Review
	server.Eventually("the request", func() bool {
		var err error
		open, err = server.App.Database().Reviews(t.Context(), server.Scope("acme", "ray@acme.test"), agents.ReviewQuery{})
		return err == nil && len(open) == 1
	})
	ray := server.SignIn("ray@acme.test")
	server.Post(ray, "/reviews/"+string(open[0].ID)+"/decide", url.Values{
		"decision": {"reject"}, "text": {"Too early."}, "shown": {hex.EncodeToString(agents.HashArgs(open[0].Args))}})
	tb.until(`document.querySelector(".step-review")?.textContent.includes("Rejected by Ray: Too early.")`)
	tb.until(idle)
	require.True(t, eval[bool](tb, `window.opened`), "without a reload")
}
