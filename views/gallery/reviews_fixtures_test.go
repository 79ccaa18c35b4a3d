package gallery

import (
	"encoding/json"

	"github.com/a-h/templ"

	"github.com/heddle/heddle/views/argform"
	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/review"
	"github.com/heddle/heddle/views/ui"
)

const (
	mailSchema = `{"type":"object","required":["to","subject","body"],"properties":{
		"to":{"type":"string","title":"To","description":"one address"},"subject":{"type":"string","title":"Subject"},
		"body":{"type":"string","title":"Text","contentMediaType":"text/plain"},"urgent":{"type":"boolean","title":"Urgent"},
		"priority":{"enum":["low","normal","high"],"title":"Priority"},"copies":{"type":"integer","title":"Copies"},
		"tags":{"type":"array","title":"Tags","items":{"type":"string"}},
		"reply":{"type":"object","title":"Reply","required":["name"],"properties":{"name":{"type":"string","title":"Name"},"days":{"type":"number","title":"Days"}}}}}`
	mailArgs = `{"to":"bob@example.com","subject":"We ship on Friday","body":"Hello Bob,\n\nwe ship on Friday. The parcel has two parts.\n\nBest regards","urgent":false,"priority":"normal","tags":["shipping","order 1182"],"reply":{"name":"Mia"},"trace":{"source":"order 1182"}}`
)

func due(text, state string) ui.Time {
	return ui.Time{ISO: "2099-11-21T10:41:00Z", Text: text, Title: "21 November 2099, 10:41 UTC", Until: true, State: state}
}

func reviewQueue() review.Queue {
	row := func(id, tool, subject, asker, assistant, age string, d ui.Time) review.Row {
		return review.Row{ID: id, Href: "/reviews/open", Tool: tool, Subject: subject, Asker: asker, Assistant: assistant, Asked: at("2026-11-21T09:41:00Z", age), Due: d}
	}
	held := row("r2", "http_request", "https://api.example/orders/1182/refund?notify=customer", "Max", "Researcher", "1 h ago", due("due in 12 min", "soon"))
	held.Holder = "Ray holds it"
	mine := row("r3", "send_email", "A subject that is so long that it does not fit beside all the other things a row has to say on any screen", "Mia", "Operations desk", "4 min ago", due("due in 56 min", ""))
	mine.Holder, mine.Mine = "you hold it", true
	return review.Queue{
		Filter: review.Filter{Set: true, Tools: []ui.Option{{Label: "Every tool"}, {Value: "send_email", Label: "send_email", Selected: true}}, Assistants: []ui.Option{{Label: "Every assistant"}},
			People: []ui.Option{{Label: "Everybody"}, {Value: "u1", Label: "Mia"}}, Due: []ui.Option{{Label: "Any time"}, {Value: "15", Label: "Within 15 minutes"}}},
		List: review.List{Open: 3, Mine: 1, Next: "/reviews?after=1_r3", Rows: []review.Row{
			row("r1", "delete_file", "reports/2026-10.csv", "Mia", "Operations desk", "2 h ago", due("due now", "late")), held, mine}},
	}
}

func reviewHistory() review.Queue {
	q := reviewQueue()
	q.Decided, q.List = true, review.List{Decided: true}
	row := func(id, subject, outcome string, tone ui.Tone) {
		q.List.Rows = append(q.List.Rows, review.Row{ID: id, Href: "/reviews/open", Tool: "send_email", Subject: subject, Asker: "Mia", Assistant: "Heddle guide",
			Asked: at("2026-11-21T09:41:00Z", "1 h ago"), Outcome: outcome, Tone: tone, Decided: at("2026-11-21T09:51:00Z", "50 min ago")})
	}
	row("r1", "We ship on Friday", "Approved with changes by Ray", ui.Good)
	row("r2", "We ship on Sunday", "Rejected by Ray: nobody works on Sundays, and the carrier does not collect before Monday noon either", ui.Bad)
	row("r3", "Your refund", "Nobody decided in time", ui.Neutral)
	return q
}

func reviewOpen() review.Request {
	waiting := answered("m2", "", "09:42", waitingStep())
	waiting.Usage = ""
	return review.Request{
		ID: "open", Tool: "send_email", Title: "Send an e-mail", About: "Sends one plain-text e-mail to one address.\nUse it only when the person asked for it.", Effect: "Reaches outside", EffectTone: ui.Wait,
		What: "One e-mail to one address outside the organisation.", Undo: "Cannot be undone.", Reason: "Calls that reach outside wait for a reviewer unless the assistant’s policy says otherwise.", Rule: "default",
		Asker: "Mia", Assistant: "Heddle guide", Asked: at("2026-11-21T09:41:00Z", "4 min ago"), Due: due("due in 56 min", ""), State: review.State{ID: "open", CanClaim: true},
		Thread: "/threads/t1", Messages: []chat.Message{asked("m1", "email bob that we ship on friday", "09:41"), waiting},
		Earlier: []review.Earlier{{Href: "/reviews/r0", Text: "The call changed, so this request is void", At: at("2026-11-21T09:31:00Z", "14 min ago")}},
		Form:    argform.New(json.RawMessage(mailSchema), json.RawMessage(mailArgs)), Shown: "c0ffee", Query: "?tool=send_email", Next: "/reviews/decided", CSRF: csrf,
		May: review.May{Approve: true, Edit: true, Respond: true, Reject: true},
	}
}

func waitingStep() chat.Step {
	return chat.Step{CallID: "c4", Verb: "send_email", Object: "to bob@example.com", Outcome: "waiting for review", State: chat.StepWaiting, Args: "{\n  \"to\": \"bob@example.com\"\n}",
		Review: chat.StepReview{ID: "open", Open: true, Text: "A reviewer decides about this call.", Due: due("due in 56 min", "")}}
}

// reviewRefused is an edit that broke a rule, with somebody else at it.
func reviewRefused() review.Request {
	r := reviewOpen()
	form, _, _ := r.Form.Read(func(name string) (string, bool) {
		switch name {
		case "arg/body":
			return "Hello Bob,\r\n\r\nwe ship on Monday. The parcel has three parts.\r\n\r\nBest regards", true
		case "arg/copies":
			return "two", true
		default:
			return "", false
		}
	})
	r.Form = form.WithErrors(map[string]string{"reply.name": "must not be empty"}).Compare()
	r.Error = "Ada is working on this request. Take it over first if that is agreed."
	r.State.Holder, r.State.Until = "Ada", ui.Time{ISO: "2026-11-21T09:55:00Z", Text: "09:55 UTC"}
	r.Reject = review.Words{Text: "No", Error: "Must be text of at most 4000 characters."}
	r.Due = due("due in 9 min", "soon")
	return r
}

func reviewOwn() review.Request {
	r := reviewOpen()
	r.May, r.State, r.Next, r.Query = review.May{Withdraw: true, FourEyes: true}, review.State{ID: "open"}, "", ""
	r.Form = argform.New(json.RawMessage(mailSchema), json.RawMessage(`{"to":"bob@example.com","subject":"Hi","body":"Hello"}`))
	return r
}

func reviewDecided() review.Request {
	r := reviewOpen()
	r.May, r.State = review.May{}, review.State{ID: "open"}
	r.Outcome = &review.Outcome{Text: "Approved with changes by Ray", Tone: ui.Good, At: at("2026-11-21T09:51:00Z", "50 min ago")}
	r.Form = argform.Between(json.RawMessage(mailSchema), json.RawMessage(mailArgs), json.RawMessage(`{"to":"bob@example.com","subject":"We ship on Monday","body":"Hello Bob,\n\nwe ship on Monday.\n\nBest regards","urgent":true,"priority":"high","tags":["shipping"],"reply":{"name":"Mia"},"trace":{"source":"order 1182"}}`))
	return r
}

func reviewRejected() review.Request {
	r := reviewDecided()
	r.Form = argform.New(json.RawMessage(`{}`), json.RawMessage(`["no","object"]`))
	r.Outcome = &review.Outcome{Text: "Rejected by Ray", Tone: ui.Bad, At: at("2026-11-21T09:51:00Z", "50 min ago"), Reason: "Nobody works on Sundays.\nAsk again on Monday."}
	r.Messages, r.Earlier = nil, nil
	return r
}

// waitingThread waits for a review and for answers, with a message behind it.
func waitingThread() chat.Thread {
	t := thread("t6")
	t.CanReview = true
	m := answered("m2", "I will write to Bob.", "09:42", waitingStep())
	sent := waitingStep()
	sent.CallID, sent.State, sent.Verb, sent.Object, sent.Outcome = "c5", chat.StepStopped, "send_email", "to eve@example.com", "not run"
	sent.Review = chat.StepReview{ID: "r9", Text: "Rejected by Ray: nobody knows that address"}
	m.Steps = append(m.Steps, sent)
	t.Messages = []chat.Message{asked("m1", "Email bob and eve that we ship on friday.", "09:41"), m}
	t.Status = chat.Status{State: chat.RunWaiting, Text: "Waiting for review", Assistant: "Heddle guide"}
	t.Queue = []chat.Queued{{RunID: "r8", Text: "And what is 17*23?", Waits: true}}
	t.Questions = []chat.Question{
		{ID: "q1", Actions: []chat.Action{{Name: "approve_this", Text: "A question of the demo graph: any answer will do.", Args: "{\n  \"action\": \"ship it\"\n}"}}},
		{ID: "q2", Text: "Which of the two addresses is right?", Answer: "{", Error: "Must be valid JSON."},
		{ID: "q3", Break: "The run waits before the node tools."},
	}
	return t
}

func reviewPages(plain func(string) layout.Page) map[string]templ.Component {
	p := func(title string) layout.Page { // as a reviewer has it, with a number that moves
		page := plain(title)
		page.Nav = []layout.NavItem{{Label: "Chat", Icon: "thread", Href: "/"}, {Label: "Review", Icon: "review", Href: "/reviews", Active: true, Count: "3", CountID: layout.ReviewCount}}
		return page
	}
	none := reviewQueue()
	none.Filter.Set, none.List = false, review.List{}
	next := reviewOpen()
	next.Told = "Approved send_email for Mia."
	return map[string]templ.Component{
		"/reviews": review.QueuePage(p("Review"), reviewQueue()), "/reviews/none": review.QueuePage(p("Review"), none), "/reviews/history": review.QueuePage(p("Review"), reviewHistory()),
		"/reviews/open": review.RequestPage(p("send_email"), next), "/reviews/refused": review.RequestPage(p("send_email"), reviewRefused()), "/reviews/own": review.RequestPage(p("send_email"), reviewOwn()),
		"/reviews/decided": review.RequestPage(p("send_email"), reviewDecided()), "/reviews/rejected": review.RequestPage(p("send_email"), reviewRejected()),
		"/threads/t6": chat.ThreadPage(p("Refund"), waitingThread()),
	}
}

func reviewShots() map[string]string {
	return map[string]string{"reviews": "/reviews", "reviews-none": "/reviews/none", "reviews-history": "/reviews/history", "review": "/reviews/open", "review-refused": "/reviews/refused",
		"review-own": "/reviews/own", "review-decided": "/reviews/decided", "review-rejected": "/reviews/rejected", "waiting": "/threads/t6"}
}

func reviewStates() map[string]templ.Component {
	waiting := waitingThread()
	return map[string]templ.Component{
		"review-list": review.ListOf(reviewQueue().List), "review-list-empty": review.ListOf(review.List{}), "review-list-narrow": review.ListOf(review.List{Filtered: true}), "review-list-decided": review.ListOf(reviewHistory().List),
		"review-state-free": review.StateOf(review.State{ID: "r1", CanClaim: true}), "review-state-held": review.StateOf(reviewRefused().State),
		"review-state-mine":   review.StateOf(review.State{ID: "r1", CanClaim: true, Mine: true, Holder: "Ray", Until: ui.Time{ISO: "2026-11-21T09:55:00Z", Text: "09:55 UTC"}}),
		"review-state-closed": review.StateOf(review.State{ID: "r1", Closed: "Approved by Ray."}),
		"args-form":           argform.FormOf(reviewOpen().Form), "args-refused": argform.FormOf(reviewRefused().Form), "args-shown": argform.Shown(reviewDecided().Form), "args-raw": argform.FormOf(reviewRejected().Form),
		"step-waiting": chat.StepOf(waiting.Messages[1].Steps[0]), "step-rejected": chat.StepOf(waiting.Messages[1].Steps[1]), "questions": chat.Questions("t6", waiting.Questions),
		"queue-waiting": chat.Queue("t6", waiting.Queue), "rail-count": layout.CountOf("review-count", "3"), "rail-count-none": layout.CountOf("review-count", ""),
	}
}
