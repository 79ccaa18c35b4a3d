package handlers

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/review"
	"github.com/heddle/heddle/views/ui"
)

// ReviewStore reads requests for review.
type ReviewStore interface {
	ReviewCounter
	Review(ctx context.Context, scope auth.Scope, review agents.ReviewID) (agents.Review, error)
	Reviews(ctx context.Context, scope auth.Scope, q agents.ReviewQuery) ([]agents.Review, error)
	OrgSettings(ctx context.Context, scope auth.Scope) (auth.OrgSettings, error)
	Names(ctx context.Context, scope auth.Scope) (map[auth.UserID]string, error)
}

// ReviewRuns takes decisions and lets reviewers hold requests.
type ReviewRuns interface {
	Decide(ctx context.Context, scope auth.Scope, decisions []agents.Decision) (agents.Decided, error)
	ClaimReview(ctx context.Context, scope auth.Scope, id agents.ReviewID, force bool) (agents.Review, error)
	ReleaseReview(ctx context.Context, scope auth.Scope, id agents.ReviewID) error
}

// Toolbox lists the tools of this server.
type Toolbox interface{ Tools() []tool.Spec }

// Reviews serves the queue of requests for review and the page of each.
type Reviews struct {
	frame   *Frame
	threads *Threads
	store   ReviewStore
	runs    ReviewRuns
	tools   Toolbox
	clock   clock.Clock
}

// NewReviews makes the handlers.
func NewReviews(frame *Frame, threads *Threads, store ReviewStore, runs ReviewRuns, tools Toolbox, clk clock.Clock) *Reviews {
	return &Reviews{frame: frame, threads: threads, store: store, runs: runs, tools: tools, clock: clk}
}

// Queue is GET /reviews: what waits, first due first. With fragment=list it is
// the list alone, with fragment=count the number in the rail, for the page's
// script.
func (v *Reviews) Queue(c *fiber.Ctx) error { return v.list(c, false) }

// History is GET /reviews/history: what was decided, newest first.
func (v *Reviews) History(c *fiber.Ctx) error { return v.list(c, true) }

func (v *Reviews) list(c *fiber.Ctx, decided bool) error {
	scope := middleware.Scope(c)
	if err := scope.Require(auth.PermReview); err != nil {
		return err
	}
	count, err := v.store.ReviewCount(c.UserContext(), scope)
	if err != nil {
		return err
	}
	if c.Query("fragment") == "count" {
		return html(c, fiber.StatusOK, layout.CountOf(layout.ReviewCount, layout.CountText(count.Open)))
	}
	f := readReviewFilter(c, decided, v.clock.Now())
	p := present.Requests{Viewer: scope.User, Now: v.clock.Now(), Query: f.query()}
	if p.Names, err = v.store.Names(c.UserContext(), scope); err != nil {
		return err
	}
	if p.Assistants, err = v.threads.assistants.AssistantNames(c.UserContext(), scope); err != nil {
		return err
	}
	list := review.List{Decided: decided, Filtered: f.set(), Open: count.Open, Mine: count.Mine}
	if err := v.rows(c.UserContext(), scope, f, p, &list); err != nil {
		return err
	}
	if c.Query("fragment") == "list" {
		return html(c, fiber.StatusOK, review.ListOf(list))
	}
	page := v.frame.page(c, "Review")
	return html(c, fiber.StatusOK, review.QueuePage(page, review.Queue{Decided: decided, Told: v.told(c, p.Names), Filter: v.filter(f, p), List: list}))
}

// reviewPage is how many requests one page of a list holds.
const reviewPage = 50

func (v *Reviews) rows(ctx context.Context, scope auth.Scope, f reviewFilter, p present.Requests, list *review.List) error {
	q := f.ReviewQuery
	q.Limit = reviewPage + 1
	found, err := v.store.Reviews(ctx, scope, q)
	if err != nil {
		return err
	}
	if len(found) > reviewPage {
		found = found[:reviewPage]
		last := found[reviewPage-1]
		at := last.DueAt
		if q.Decided {
			at = last.DecidedAt
		}
		next := f.values()
		next.Set("after", strconv.FormatInt(at.UnixMicro(), 10)+"_"+string(last.ID))
		list.Next = f.path() + "?" + next.Encode()
	}
	for _, r := range found {
		list.Rows = append(list.Rows, p.Row(r))
	}
	return nil
}

// reviewFilter is what the address of a list narrows it to.
type reviewFilter struct {
	agents.ReviewQuery
	due string
}

// dueWithin are the choices of how soon a request is due.
func dueWithin() []ui.Option {
	return []ui.Option{{Value: "", Label: "Any time"}, {Value: "15", Label: "Within 15 minutes"}, {Value: "60", Label: "Within an hour"}, {Value: "1440", Label: "Within a day"}}
}

// readReviewFilter reads the address; what is no filter narrows nothing.
func readReviewFilter(c *fiber.Ctx, decided bool, now time.Time) reviewFilter {
	f := reviewFilter{ReviewQuery: agents.ReviewQuery{Decided: decided, Tool: utils.CopyString(c.Query("tool")), Mine: c.Query("mine") == "1"}}
	if at := utils.CopyString(c.Query("assistant")); id.Valid(at) {
		f.Assistant = agents.AssistantID(at)
	}
	if who := utils.CopyString(c.Query("who")); id.Valid(who) {
		f.Requester = auth.UserID(who)
	}
	for _, o := range dueWithin()[1:] {
		if o.Value == c.Query("due") && !decided {
			minutes, _ := strconv.Atoi(o.Value) // one of ours
			f.due, f.DueBefore = o.Value, now.Add(time.Duration(minutes)*time.Minute)
		}
	}
	if at, after, ok := strings.Cut(utils.CopyString(c.Query("after")), "_"); ok {
		if micros, err := strconv.ParseInt(at, 10, 64); err == nil {
			f.AfterTime, f.AfterID = time.UnixMicro(micros), agents.ReviewID(after)
		}
	}
	return f
}

func (f reviewFilter) values() url.Values {
	out := url.Values{}
	set := func(name, value string) {
		if value != "" {
			out.Set(name, value)
		}
	}
	set("tool", f.Tool)
	set("assistant", string(f.Assistant))
	set("who", string(f.Requester))
	set("due", f.due)
	if f.Mine {
		out.Set("mine", "1")
	}
	return out
}

func (f reviewFilter) set() bool { return len(f.values()) > 0 }

// query keeps the filter in the address of a request: a decision leads on to
// the next of the same list.
func (f reviewFilter) query() string {
	if f.Decided || !f.set() {
		return ""
	}
	return "?" + f.values().Encode()
}

func (f reviewFilter) path() string {
	if f.Decided {
		return "/reviews/history"
	}
	return "/reviews"
}

// filter presents the form above a list.
func (v *Reviews) filter(f reviewFilter, p present.Requests) review.Filter {
	out := review.Filter{Mine: f.Mine, Set: f.set(), Due: dueWithin()}
	out.Tools = []ui.Option{{Label: "Every tool"}}
	known := false
	for _, spec := range v.tools.Tools() {
		if spec.Effect == tool.EffectRead && spec.Name != f.Tool {
			continue
		}
		known = known || spec.Name == f.Tool
		out.Tools = append(out.Tools, ui.Option{Value: spec.Name, Label: spec.Name, Selected: spec.Name == f.Tool})
	}
	if f.Tool != "" && !known {
		out.Tools = append(out.Tools, ui.Option{Value: f.Tool, Label: f.Tool, Selected: true})
	}
	out.Assistants = named("Every assistant", p.Assistants, f.Assistant)
	out.People = named("Everybody", p.Names, f.Requester)
	for i := range out.Due {
		out.Due[i].Selected = out.Due[i].Value == f.due
	}
	return out
}

// told tells what the decision did that led here. The address only names a
// request: what is said of it is what the database knows, and only to whoever
// decided.
func (v *Reviews) told(c *fiber.Ctx, names map[auth.UserID]string) string {
	scope := middleware.Scope(c)
	of := agents.ReviewID(utils.CopyString(c.Query("decided")))
	if of == "" {
		return ""
	}
	r, err := v.store.Review(c.UserContext(), scope, of)
	if err != nil || r.Status == agents.ReviewOpen || r.DecidedBy != scope.User {
		return ""
	}
	words := map[agents.ReviewStatus]string{agents.ReviewApproved: "Approved", agents.ReviewEdited: "Approved with changes:", agents.ReviewRejected: "Rejected",
		agents.ReviewAnswered: "Answered", agents.ReviewWithdrawn: "Withdrawn:"}
	return words[r.Status] + " " + r.Tool + " for " + present.Member(names, r.Requester) + "."
}

// named lists what has a name as options, in the order of the names.
func named[ID ~string](all string, names map[ID]string, chosen ID) []ui.Option {
	out := []ui.Option{{Label: all}}
	for key, name := range names {
		out = append(out, ui.Option{Value: string(key), Label: name, Selected: key == chosen})
	}
	slices.SortFunc(out[1:], func(a, b ui.Option) int { return strings.Compare(a.Label+a.Value, b.Label+b.Value) })
	return out
}

func reviewParam(c *fiber.Ctx) agents.ReviewID {
	return agents.ReviewID(utils.CopyString(c.Params("review")))
}
