package handlers_test

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// reviewDesk is a server with people around calls that wait for a review.
type reviewDesk struct {
	*testweb.Server
	mia, ray, ada *http.Client
}

func openReviewDesk(t *testing.T) reviewDesk {
	t.Helper()
	s := testweb.Start(t, testweb.Options{})
	return reviewDesk{Server: s, mia: s.SignIn("mia@acme.test"), ray: s.SignIn("ray@acme.test"), ada: s.SignIn("ada@acme.test")}
}

func (d reviewDesk) ask(c *http.Client, message string) (thread string, r agents.Review) {
	return d.AskForReview(c, d.Scope("acme", "ray@acme.test"), message)
}

const ship = "email bob@example.com that we ship on friday"

// pressing is what a browser without script sends of the form around an element.
func pressing(p *testweb.Page, button string) url.Values {
	out := url.Values{}
	b := p.Find(button)
	if name, ok := b.Attr("name"); ok {
		out.Set(name, b.AttrOr("value", ""))
	}
	f := b.Closest("form")
	if of, ok := b.Attr("form"); ok {
		f = p.Find("form#" + of)
	}
	f.Find("input, textarea, select").Each(func(_ int, e *goquery.Selection) {
		name := e.AttrOr("name", "")
		switch {
		case name == "":
		case goquery.NodeName(e) == "textarea":
			out.Set(name, strings.ReplaceAll(e.Text(), "\n", "\r\n"))
		case goquery.NodeName(e) == "select":
			out.Set(name, e.Find("option[selected]").AttrOr("value", ""))
		case e.AttrOr("type", "") == "radio" || e.AttrOr("type", "") == "checkbox":
			if _, on := e.Attr("checked"); on {
				out.Set(name, e.AttrOr("value", ""))
			}
		default:
			out.Set(name, e.AttrOr("value", ""))
		}
	})
	return out
}

func action(p *testweb.Page, button string) string {
	b := p.Find(button)
	f := b.Closest("form")
	if of, ok := b.Attr("form"); ok {
		f = p.Find("form#" + of)
	}
	return b.AttrOr("formaction", f.AttrOr("action", ""))
}

func TestAReviewerDecidesAndTheNextRequestOpens(t *testing.T) {
	t.Parallel()
	d := openReviewDesk(t)
	thread, first := d.ask(d.mia, ship)
	_, second := d.ask(d.mia, "email bob@example.com that we ship on monday")

	queue := d.Page(d.ray, "/reviews")
	require.Equal(t, http.StatusOK, queue.Status)
	require.Contains(t, queue.Text(".review-count"), "2 waiting")
	require.Equal(t, "2", queue.Text("#review-count"), "the rail counts as well")
	row := queue.Text("#review-" + string(first.ID))
	for _, part := range []string{"send_email", "We ship on friday", "Mia", "Heddle guide", "due in"} {
		require.Contains(t, row, part)
	}
	page := d.Page(d.ray, queue.Find("#review-"+string(first.ID)).AttrOr("href", ""))
	for where, part := range map[string]string{"#what-title ~ p": "Cannot be undone", "[aria-labelledby=why-title]": "reviewer", ".request-talk": "ship on friday",
		"#args-title": "Exact arguments"} {
		require.Contains(t, page.Text(where), part)
	}
	require.Equal(t, "bob@example.com", page.Find(`[name="arg/to"]`).AttrOr("value", ""))
	require.Zero(t, page.Find("#decide-withdraw").Length())

	// Approved as it was shown: no byte of the arguments changes.
	after := d.Post(d.ray, action(page, "#decide-approve"), pressing(page, "#decide-approve"))
	require.Equal(t, http.StatusOK, after.Status)
	require.Equal(t, "/reviews/"+string(second.ID), after.Path, "the next one opens")
	require.Contains(t, d.PageOf(after).Text(".notice-good"), "Approved send_email for Mia.")
	r, err := d.App.Database().Review(t.Context(), d.Scope("acme", "ray@acme.test"), first.ID)
	require.NoError(t, err)
	require.Equal(t, agents.ReviewApproved, r.Status)
	require.Nil(t, r.FinalArgs)
	d.WaitIdle(d.mia, thread)
	require.Equal(t, "We ship on friday", d.Mails(d.mia)[0].Subject)
	require.Contains(t, d.Page(d.mia, "/threads/"+thread).Text("#messages"), "Approved by Ray")

	// The last one leads back to the queue; edited by a person without script.
	page = d.PageOf(after)
	edit := pressing(page, "#decide-edit")
	edit.Set("arg/body", "Hello Bob,\r\nit will be Tuesday.")
	after = d.Post(d.ray, action(page, "#decide-edit"), edit)
	require.Equal(t, "/reviews", after.Path)
	require.Contains(t, d.PageOf(after).Text("#work"), "Nothing waits for a review")
	d.Eventually("the edited mail is sent", func() bool { return len(d.Mails(d.mia)) == 2 })
	require.Equal(t, "Hello Bob,\nit will be Tuesday.", d.Mails(d.mia)[0].Body)

	history := d.Page(d.ray, "/reviews/history?mine=1")
	require.Contains(t, history.Text("#review-"+string(second.ID)), "Approved with changes by Ray")
	shown := d.Page(d.ray, "/reviews/"+string(second.ID))
	require.Contains(t, shown.Text(".request-outcome"), "Approved with changes by Ray")
	require.Contains(t, shown.Text(".args-shown ins"), "Tuesday")
	require.Zero(t, shown.Find(".request-bar").Length())
}

func TestWhoMayOpenARequest(t *testing.T) {
	t.Parallel()
	d := openReviewDesk(t)
	thread, r := d.ask(d.mia, ship)
	path := "/reviews/" + string(r.ID)
	for _, list := range []string{"/reviews", "/reviews/history", "/reviews?fragment=count"} {
		require.Equal(t, http.StatusForbidden, d.Page(d.mia, list).Status, list)
	}
	require.Zero(t, d.Page(d.mia, "/").Find("#review-count").Length())

	// Whoever asked sees their own and can only take it back.
	own := d.Page(d.mia, path)
	require.Equal(t, http.StatusOK, own.Status)
	require.Contains(t, own.Text(".request-bar"), "Four eyes")
	require.Equal(t, 1, own.Find(".request-bar button").Length())
	for _, decision := range []string{"approve", "edit", "respond"} {
		got := d.Post(d.mia, path+"/decide", url.Values{"decision": {decision}, "text": {"x"}, "shown": {hex.EncodeToString(agents.HashArgs(r.Args))}, "raw": {`{"to":"x","subject":"x","body":"x"}`}})
		require.Equal(t, http.StatusForbidden, got.Status, decision)
	}
	require.Equal(t, http.StatusForbidden, d.Post(d.mia, path+"/claim", nil).Status)

	// A fellow member and another organisation's reviewer find nothing.
	for _, stranger := range []string{"max@acme.test", "gus@globex.test"} {
		c := d.SignIn(stranger)
		theirs, none := d.Get(c, path, "Accept", "text/html"), d.Get(c, "/reviews/"+id.New(), "Accept", "text/html")
		require.Equal(t, http.StatusNotFound, theirs.Status)
		require.Equal(t, fresh.ReplaceAllString(none.Body, "$1"), fresh.ReplaceAllString(theirs.Body, "$1"))
		got := d.Post(c, path+"/decide", url.Values{"decision": {"approve"}, "shown": {hex.EncodeToString(agents.HashArgs(r.Args))}})
		require.Equal(t, http.StatusNotFound, got.Status)
	}

	after := d.Post(d.mia, action(own, "#decide-withdraw"), pressing(own, "#decide-withdraw"))
	require.Equal(t, "/threads/"+thread, after.Path)
	d.WaitIdle(d.mia, thread)
	require.Contains(t, d.Page(d.mia, "/threads/"+thread).Text("#messages"), "Withdrawn by Mia")
	require.Empty(t, d.Mails(d.mia))
}

func TestOfTwoReviewersTheSecondIsToldWho(t *testing.T) {
	t.Parallel()
	d := openReviewDesk(t)
	_, r := d.ask(d.mia, ship)
	path := "/reviews/" + string(r.ID)
	rays, adas := d.Page(d.ray, path), d.Page(d.ada, path)
	require.Equal(t, http.StatusOK, d.Post(d.ray, path+"/claim", nil).Status)
	held := d.Post(d.ada, action(adas, "#decide-approve"), pressing(adas, "#decide-approve"))
	require.Equal(t, http.StatusConflict, held.Status)
	require.Contains(t, d.PageOf(held).Text(".notice-bad"), "Ray is working on this request")
	require.Contains(t, d.PageOf(held).Text("#review-state"), "Ray holds this request")
	require.Equal(t, http.StatusConflict, d.Post(d.ada, path+"/claim", nil).Status)
	require.Contains(t, d.Page(d.ada, "/reviews").Text("#review-"+string(r.ID)), "Ray holds it")
	require.Contains(t, d.Get(d.ray, path+"?fragment=state").Body, "You hold this request")
	require.Equal(t, http.StatusOK, d.Post(d.ray, path+"/release", nil).Status)

	// Both at the same moment: one decides, the other learns who did.
	var wg sync.WaitGroup
	answers := make([]testweb.Answer, 2)
	for i, who := range []struct {
		c *http.Client
		p *testweb.Page
	}{{d.ray, rays}, {d.ada, adas}} {
		values := pressing(who.p, "#decide-approve")
		wg.Go(func() { answers[i] = d.Post(who.c, path+"/decide", values) })
	}
	wg.Wait()
	late, other := answers[0], "Ada"
	if late.Status == http.StatusOK {
		late, other = answers[1], "Ray"
	}
	require.Equal(t, http.StatusConflict, late.Status)
	require.Contains(t, d.PageOf(late).Text(".notice-bad"), other+" already decided: approved.")
	require.Contains(t, d.PageOf(late).Text(".request-outcome"), "Approved by "+other)
	d.Eventually("the mail is sent", func() bool { return len(d.Mails(d.mia)) > 0 })
	require.Len(t, d.Mails(d.mia), 1)
}

func TestABrokenEditComesBackAndChangesNothing(t *testing.T) {
	t.Parallel()
	d := openReviewDesk(t)
	_, r := d.ask(d.mia, ship)
	page := d.Page(d.ray, "/reviews/"+string(r.ID))
	path := action(page, "#decide-edit")
	for name, c := range map[string]struct {
		decision, field, value, where, says string
	}{
		"a rule of the schema":  {"edit", "arg/to", "", ".field-bad", "at least 3 characters"},
		"an unknown argument":   {"edit", "raw", `{"to":"a","subject":"b","body":"c","cc":"d"}`, ".field-error", "is not an argument of this tool"},
		"no JSON":               {"edit", "raw", `{"to":`, "#arg-raw-error", "Must be valid JSON"},
		"NUL":                   {"edit", "raw", `{"to":"a\u0000","subject":"b","body":"c"}`, "#arg-raw-error", "NUL"},
		"approval of an edit":   {"approve", "arg/subject", "Other", ".args > .field-error", "Edit and approve"},
		"an answer of nothing":  {"respond", "text", "  ", "#respond-text-error", "Must not be empty"},
		"a reason that is long": {"reject", "text", strings.Repeat("x", agents.MaxReasonRunes+1), "#reject-text-error", "at most 4000"},
	} {
		values := pressing(page, "#decide-edit")
		values.Set("arg/body", "typed by Ray")
		values.Set("decision", c.decision)
		values.Set(c.field, c.value)
		if c.field == "raw" {
			values.Set("use", "raw")
		}
		got := d.Post(d.ray, path, values)
		require.Equal(t, http.StatusUnprocessableEntity, got.Status, name)
		again := d.PageOf(got)
		require.Contains(t, again.Text(c.where), c.says, name)
		if c.decision == "edit" || c.decision == "approve" {
			require.Equal(t, "typed by Ray", again.Find(`[name="arg/body"]`).Text(), name)
			require.Contains(t, again.Text(".args-diff ins"), "typed by Ray", "%s: the difference is shown without script", name)
		}
	}
	stands, err := d.App.Database().Review(t.Context(), d.Scope("acme", "ray@acme.test"), r.ID)
	require.NoError(t, err)
	require.Equal(t, agents.ReviewOpen, stands.Status)
	require.Empty(t, d.Mails(d.mia))

	stale := pressing(page, "#decide-approve")
	stale.Set("shown", hex.EncodeToString(agents.HashArgs(json.RawMessage(`{}`))))
	got := d.Post(d.ray, path, stale)
	require.Equal(t, http.StatusConflict, got.Status)
	require.Contains(t, d.PageOf(got).Text(".notice-bad"), "changed since you saw them")
	for _, wrong := range []url.Values{{"decision": {"approve"}}, {"decision": {"approve"}, "shown": {"xyz"}}, {"decision": {"maybe"}}, {}} {
		require.Equal(t, http.StatusUnprocessableEntity, d.Post(d.ray, path, wrong).Status)
	}
	require.Equal(t, http.StatusForbidden, d.Post(d.ray, path, url.Values{"_csrf": {"x"}, "decision": {"approve"}}).Status)

	reject := pressing(d.Page(d.ray, "/reviews/"+string(r.ID)), "#decide-reject")
	reject.Set("text", "Too early.")
	require.Equal(t, "/reviews", d.Post(d.ray, path, reject).Path)
	d.WaitIdle(d.mia, string(r.Thread))
	thread := d.Page(d.mia, "/threads/"+string(r.Thread))
	require.Contains(t, thread.Text(".step-review"), "Rejected by Ray: Too early.")
	require.Contains(t, thread.Text(".step-stopped"), "not run")
}

func TestTheQueueIsNarrowedByItsAddress(t *testing.T) {
	t.Parallel()
	d := openReviewDesk(t)
	max := d.SignIn("max@acme.test")
	_, mias := d.ask(d.mia, ship)
	_, maxs := d.ask(max, ship)
	require.Equal(t, http.StatusOK, d.Post(d.ray, "/reviews/"+string(mias.ID)+"/claim", nil).Status)
	both := []agents.ReviewID{mias.ID, maxs.ID}
	for query, want := range map[string][]agents.ReviewID{
		"":                                     both,
		"?who=" + string(maxs.Requester):       {maxs.ID},
		"?mine=1":                              {mias.ID},
		"?tool=send_email":                     both,
		"?tool=other":                          nil,
		"?assistant=" + string(mias.Assistant): both,
		"?assistant=" + id.New():               nil,
		"?due=15":                              nil,
		"?due=1440":                            both,
		"?due=x&who=y&assistant=z&after=1_":    both,
	} {
		page := d.Page(d.ray, "/reviews"+query)
		require.Equal(t, http.StatusOK, page.Status)
		var got []agents.ReviewID
		page.Find(".review-row").Each(func(_ int, s *goquery.Selection) {
			got = append(got, agents.ReviewID(strings.TrimPrefix(s.AttrOr("id", ""), "review-")))
		})
		require.ElementsMatch(t, want, got, query)
	}
	// The filter stays with the reviewer: the next one is of the same list.
	open := d.Page(d.ray, "/reviews/"+string(mias.ID)+"?who="+string(mias.Requester))
	require.Zero(t, open.Find("[data-next]").Length(), "nothing else of Mia waits")
	require.Equal(t, 1, d.Page(d.ray, "/reviews/"+string(mias.ID)).Find("[data-next]").Length())
	after := d.Post(d.ray, action(open, "#decide-approve"), pressing(open, "#decide-approve"))
	require.Equal(t, "/reviews", after.Path)
	require.Contains(t, d.PageOf(after).Text(".list, .empty"), "Nothing fits")
}

func TestTheThreadSaysWhoHasToAct(t *testing.T) {
	t.Parallel()
	d := openReviewDesk(t)
	thread, r := d.ask(d.mia, ship)
	d.Eventually("the run waits", func() bool {
		return d.Page(d.mia, "/threads/"+thread).Text("#status") != "" && d.Page(d.mia, "/threads/"+thread).Find("#status").AttrOr("data-run", "") == "waiting"
	})
	page := d.Page(d.mia, "/threads/"+thread)
	require.Equal(t, "Waiting for review", page.Text("#status"))
	require.Contains(t, page.Text(".step-waiting summary"), "send_email to bob@example.com waiting for review")
	require.Contains(t, page.Text(".step-review-open"), "due in")
	require.Equal(t, "/reviews/"+string(r.ID), page.Find(".step-review a.for-reviewers").AttrOr("href", ""))
	require.False(t, page.Find("#work").HasClass("can-review"))
	rays := d.Page(d.ray, "/threads/"+thread)
	require.True(t, rays.Find("#work").HasClass("can-review"), "a reviewer reads the thread")

	// A message behind it waits, or takes its place.
	d.Post(d.mia, "/threads/"+thread+"/messages", url.Values{"message": {"what is 17*23"}})
	page = d.Page(d.mia, "/threads/"+thread)
	require.Contains(t, page.Text(".queue-waits"), "Withdraw the request and send")
	require.Equal(t, http.StatusOK, d.Post(d.mia, page.Find(".queue-waits button").AttrOr("formaction", ""), nil).Status)
	d.Eventually("the queued message is answered", func() bool { return strings.Contains(d.Page(d.mia, "/threads/"+thread).Text("#messages"), "391") })
	require.Contains(t, d.Page(d.mia, "/threads/"+thread).Text("#messages"), "Withdrawn by Mia")
	require.Contains(t, d.Page(d.ray, "/reviews/history").Text("#review-"+string(r.ID)), "Withdrawn by Mia")
}

// bare leaves the spaces out: how stored JSON is set is not the point.
func bare(text string) string { return strings.ReplaceAll(text, " ", "") }

func TestAQuestionIsAnsweredOnThePage(t *testing.T) {
	t.Parallel()
	d := openReviewDesk(t)
	for kind, c := range map[string]struct{ text, want string }{
		"approve": {"", `{"decisions":[{"type":"approve"}]}`},
		"reject":  {"not now", `{"decisions":[{"type":"reject","message":"not now"}]}`},
		"text":    {"do it tomorrow", `"do it tomorrow"`},
		"json":    {`{"x": [1]}`, `{"x":[1]}`},
	} {
		a := d.Post(d.mia, "/threads", url.Values{"message": {"ship it"}, "assistant_id": {"approval"}})
		path := a.Path
		d.Eventually("a question", func() bool { return d.Page(d.mia, path).Find(".question").Length() == 1 })
		page := d.Page(d.mia, path)
		require.Contains(t, page.Text(".question"), "approve_this")
		require.Contains(t, page.Text(".question pre"), `"ship it"`)
		require.Equal(t, "Waiting for your answer", page.Text("#status"))
		require.Equal(t, http.StatusNotFound, d.Get(d.ray, path).Status, "a question opens a thread to nobody")
		field := page.Find(".question textarea").AttrOr("name", "")
		buttons := map[string]string{}
		page.Find(".question button").Each(func(_ int, s *goquery.Selection) {
			at, err := url.Parse(s.AttrOr("formaction", ""))
			require.NoError(t, err)
			buttons[at.Query().Get("kind")] = at.String()
		})
		for wrong, text := range map[string]string{"text": " ", "json": "{"} {
			got := d.Post(d.mia, buttons[wrong], url.Values{field: {text}})
			require.Equal(t, http.StatusUnprocessableEntity, got.Status)
			require.Contains(t, strings.ToLower(d.PageOf(got).Text(".question .field-error")), "must")
			require.Equal(t, text, d.PageOf(got).Find(".question textarea").Text())
		}
		require.Equal(t, path, d.Post(d.mia, buttons[kind], url.Values{field: {c.text}}).Path)
		d.Eventually("the answer is used", func() bool {
			p := d.Page(d.mia, path)
			return strings.Contains(bare(p.Text("#messages")), bare("The answer was "+c.want)) && p.Find(".question").Length() == 0
		})
		require.Equal(t, http.StatusConflict, d.Post(d.mia, buttons[kind], url.Values{field: {c.text}}).Status, "it is answered once")
		require.Equal(t, 1, d.Page(d.mia, path).Find(".msg-assistant.msg-continued").Length(), "the run that goes on goes on with the answer")
	}
}
