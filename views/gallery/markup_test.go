package gallery

import (
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/layout"
)

func parse(t *testing.T, markup string) *goquery.Document {
	t.Helper()
	doc, err := goquery.NewDocumentFromReader(strings.NewReader(markup))
	require.NoError(t, err)
	return doc
}

func TestNoPageCarriesScriptOrStyleOfItsOwn(t *testing.T) {
	for path, c := range pages(plainAssets(t), layout.ThemeDark) {
		doc := parse(t, html(c))
		require.Zero(t, doc.Find("style, [style], iframe, object, embed, base").Length(), path)
		doc.Find("script").Each(func(_ int, s *goquery.Selection) {
			require.NotEmpty(t, s.AttrOr("src", ""), path)
			require.Empty(t, s.Text(), path)
		})
		doc.Find("*").Each(func(_ int, s *goquery.Selection) {
			for _, a := range s.Nodes[0].Attr {
				require.False(t, strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on"), "%s: %s on %s", path, a.Key, goquery.NodeName(s))
				require.NotContains(t, a.Val, "javascript:", path)
			}
		})
		require.NotContains(t, html(c), static404, path)
	}
}

// static404 is the start of an address that no build made.
const static404 = "/static/missing/"

func TestEveryPostingFormCarriesTheToken(t *testing.T) {
	forms := 0
	for path, c := range pages(plainAssets(t), "") {
		parse(t, html(c)).Find(`form[method="post"]`).Each(func(_ int, f *goquery.Selection) {
			forms++
			require.Equal(t, csrf, f.Find(`input[type="hidden"][name="_csrf"]`).AttrOr("value", ""), "%s: %s", path, f.AttrOr("action", ""))
		})
	}
	require.Greater(t, forms, 30)
}

func TestEveryIdIsUniqueAndEveryReferenceResolves(t *testing.T) {
	for path, c := range pages(builtAssets(t), "") {
		doc := parse(t, html(c))
		ids := map[string]bool{}
		doc.Find("[id]").Each(func(_ int, s *goquery.Selection) {
			id := s.AttrOr("id", "")
			require.False(t, ids[id], "%s has two elements %q", path, id)
			ids[id] = true
		})
		for _, attr := range []string{"for", "form", "aria-labelledby", "aria-describedby", "data-dialog"} {
			doc.Find("[" + attr + "]").Each(func(_ int, s *goquery.Selection) {
				for id := range strings.FieldsSeq(s.AttrOr(attr, "")) {
					require.True(t, ids[id], "%s: %s=%q leads nowhere", path, attr, id)
				}
			})
		}
		doc.Find("use").Each(func(_ int, s *goquery.Selection) {
			require.True(t, ids[strings.TrimPrefix(s.AttrOr("href", ""), "#")], "%s: no icon %s", path, s.AttrOr("href", ""))
		})
	}
}

func TestThreadPageHasTheRegionsThatPatchesName(t *testing.T) {
	doc := parse(t, html(chat.ThreadPage(page(plainAssets(t), "", "x"), streaming())))
	for _, id := range []string{chat.RegionTitle, chat.RegionMessages, chat.RegionStatus, chat.RegionQueue, chat.RegionQuestions, chat.RegionActions, chat.RegionThreads,
		chat.MessageID("m4"), chat.BodyID("m4"), chat.BlockID("m4", 0), chat.BlockID("m4", 2), chat.StepsID("m4"), chat.StepID("c3")} {
		require.Equal(t, 1, doc.Find(`[id="`+id+`"]`).Length(), id)
	}
	work := doc.Find("main#work")
	require.Equal(t, "t1", work.AttrOr("data-thread", ""))
	require.Equal(t, "41", work.AttrOr("data-seq", ""))
	require.Equal(t, "e1", work.AttrOr("data-epoch", ""))
	log := doc.Find(`#messages[role="log"]`)
	require.Equal(t, "off", log.AttrOr("aria-live", ""))
	require.Equal(t, 1, doc.Find(`main [role="status"][aria-live="polite"]`).Length(), "one polite region, no more")
}

func TestPatchedRegionsHoldNothingOfTheViewer(t *testing.T) {
	live := streaming()
	for name, markup := range map[string]string{
		"messages": html(chat.Messages(live.Messages)), "queue": html(chat.Queue("t1", live.Queue)), "actions": html(chat.ComposerActions("t1", true, false)),
		"status": html(chat.StatusLine(live.Status)), "title": html(chat.TitleOf(live.Title)), "questions": html(chat.Questions("t6", waitingThread().Questions)), "step": html(chat.StepOf(waitingStep())), "list": html(chat.ThreadList(live.List)),
	} {
		doc := parse(t, markup)
		require.NotContains(t, markup, csrf, name)
		require.Zero(t, doc.Find("form, input").Length(), name)
		doc.Find("button[formaction]").Each(func(_ int, b *goquery.Selection) {
			require.Equal(t, chat.ThreadAction, b.AttrOr("form", ""), name)
		})
	}
	require.Equal(t, 3, parse(t, html(chat.Queue("t1", live.Queue))).Find(".for-writers button").Length(), "save, send now, withdraw")
}

func TestAReaderWithoutTheRightToWriteGetsNoForms(t *testing.T) {
	doc := parse(t, html(chat.ThreadPane(page(plainAssets(t), "", "x"), readOnly())))
	require.Zero(t, doc.Find("#composer, #thread-menu").Length())
	require.False(t, doc.Find("#work").HasClass("can-write"))
	require.Contains(t, doc.Find(".read-only").Text(), "Only Max can write here")
}

func TestWithoutScriptThePageSaysHowToGoOn(t *testing.T) {
	p := page(plainAssets(t), "", "x")
	p.Refresh = 5
	markup := html(chat.ThreadPage(p, streaming()))
	require.Contains(t, markup, `<noscript><meta http-equiv="refresh" content="5"></noscript>`)
	require.Contains(t, markup, "reload it now")
	require.NotContains(t, html(chat.ThreadPage(page(plainAssets(t), "", "x"), long())), "<noscript>")
	doc := parse(t, markup)
	require.Equal(t, "/threads/t1/messages", doc.Find("form#composer").AttrOr("action", ""))
	require.Equal(t, "/threads/t1/cancel", doc.Find("#stop").AttrOr("formaction", ""))
	require.Equal(t, "post", doc.Find("form#"+chat.ThreadAction).AttrOr("method", ""))
}

func TestTextOfPeopleIsEscaped(t *testing.T) {
	evil := `<img src=x onerror=alert(1)>"'`
	live := streaming()
	live.Title, live.Queue[0].Text, live.Messages[0].Text, live.Messages[0].Author = evil, evil, evil, evil
	live.Messages[3].Steps[0].Result, live.Messages[3].Steps[0].Object, live.Status.Text, live.Composer.Text = evil, evil, evil, evil
	live.Messages[1].Source = "</template>" + evil
	live.List.Groups[0].Threads[0].Title, live.List.Query = evil, evil
	doc := parse(t, html(chat.ThreadPage(page(plainAssets(t), "", evil), live)))
	require.Zero(t, doc.Find("img, [onerror]").Length())
	require.Equal(t, evil, doc.Find("#thread-title").Text())
}
