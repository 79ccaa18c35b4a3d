package gallery

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/internal/testweb"
)

func TestMain(m *testing.M) { testpg.Main(m) }

const (
	prose  = `[...document.querySelectorAll(".msg-assistant .prose")].map(e => e.textContent).join(" ")`
	number = `(` + prose + `.match(/\d+/g) ?? []).map(Number)`
	idle   = `document.getElementById("status")?.dataset.run === "idle"`
)

// TestAPersonChatsOnTheRealServer is the product as people meet it: a browser
// in front of the whole server, at the mock model's real pace.
func TestAPersonChatsOnTheRealServer(t *testing.T) {
	server := testweb.Start(t, testweb.Options{TokensPerSecond: 60})
	tb := openTab(t, testbrowser.Start(t))
	tb.run(desktop.action())
	tb.open(server.URL() + "/auth/dev?login_hint=mia@acme.test")
	tb.until(`location.pathname === "/" && document.querySelector("h1").textContent.includes("Mia")`)

	// A first message opens a thread and its answer streams in.
	tb.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "count to 60"), enter(0, 13))
	tb.until(`location.pathname.startsWith("/threads/") && document.documentElement.classList.contains("scripted")`)
	tb.until(number + `.length > 10`)

	// A reload in the middle of it loses nothing.
	before := eval[int](tb, number+`.length`)
	tb.run(chromedp.Reload())
	tb.until(`document.documentElement.classList.contains("scripted")`)
	require.GreaterOrEqual(t, eval[int](tb, number+`.length`), before)
	tb.until(idle + ` && ` + number + `.length === 60`)
	require.True(t, eval[bool](tb, number+`.every((n, i) => n === i + 1)`))

	// A message typed during a run waits, and is shown so; stop keeps the text.
	tb.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "count to 500"), enter(0, 13))
	tb.until(`document.getElementById("stop") !== null && ` + number + `.length > 70`)
	tb.run(chromedp.SendKeys(chromedp.CSS("#composer-text"), "what is 17*23"), enter(0, 13))
	tb.until(`document.querySelector("#queue .queued")?.textContent.includes("17*23")`)
	tb.run(chromedp.Click(chromedp.CSS("#stop")))
	tb.until(`document.getElementById("messages").textContent.includes("What was written so far is kept")`)
	tb.until(idle + ` && ` + prose + `.includes("391") && document.querySelector("#queue .queued") === null`)
	require.True(t, eval[bool](tb, `document.querySelector("details.step") !== null`), "the tool call is folded in the answer")

	// The list of threads learned of it without a reload, and everything is
	// there again after one.
	tb.until(`document.querySelector(".thread-list [aria-current]")?.textContent.includes("count to 60")`)
	shown := eval[string](tb, prose)
	tb.run(chromedp.Reload())
	tb.until(`document.documentElement.classList.contains("scripted")`)
	require.Equal(t, shown, eval[string](tb, prose))
}
