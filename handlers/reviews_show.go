package handlers

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/argform"
	"github.com/heddle/heddle/views/review"
)

// Show is GET /reviews/:review, for reviewers and for whoever asked. Looking
// holds nothing. With fragment=state it is the line of who holds it alone, for
// the page's script.
func (v *Reviews) Show(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	r, err := v.store.Review(c.UserContext(), scope, reviewParam(c))
	if err != nil {
		return err
	}
	if c.Query("fragment") == "state" {
		names, err := v.store.Names(c.UserContext(), scope)
		if err != nil {
			return err
		}
		return html(c, fiber.StatusOK, review.StateOf(v.state(scope, r, names, true)))
	}
	return v.show(c, fiber.StatusOK, r, nil)
}

// show shows a request; change puts into it what an attempt to decide left.
func (v *Reviews) show(c *fiber.Ctx, status int, r agents.Review, change func(*review.Request)) error {
	scope, ctx, now := middleware.Scope(c), c.UserContext(), v.clock.Now()
	names, err := v.store.Names(ctx, scope)
	if err != nil {
		return err
	}
	fourEyes, err := v.fourEyes(ctx, scope)
	if err != nil {
		return err
	}
	f := readReviewFilter(c, false, now)
	p := v.frame.page(c, r.Tool)
	out := review.Request{
		ID: string(r.ID), Tool: r.Tool, Reason: r.Reason, Rule: r.Rule, Asker: present.Member(names, r.Requester), Asked: present.Time(r.CreatedAt, now),
		Due: present.Until(r.DueAt, now), State: v.state(scope, r, names, false), Thread: "/threads/" + string(r.Thread),
		Shown: hex.EncodeToString(agents.HashArgs(r.Args)), May: may(scope, r, fourEyes), Query: f.query(), Told: v.told(c, names), CSRF: p.CSRF,
	}
	spec := v.spec(r.Tool)
	present.Call(&out, spec, r)
	out.Form = argform.New(spec.Schema, r.Args)
	if r.Status != agents.ReviewOpen {
		out.Outcome = outcome(r, names, now)
		if r.FinalArgs != nil {
			out.Form = argform.Between(spec.Schema, r.Args, r.FinalArgs)
		}
	}
	if err := v.around(ctx, scope, r, &out); err != nil {
		return err
	}
	if scope.Can(auth.PermReview) {
		next, err := v.next(ctx, scope, f, r, fourEyes)
		if err != nil {
			return err
		}
		if next != "" {
			out.Next = "/reviews/" + string(next) + f.query()
		}
	}
	if change != nil {
		change(&out)
	}
	return html(c, status, review.RequestPage(p, out))
}

// spec is what is known of a tool; of one that is not on this server, nothing.
func (v *Reviews) spec(name string) tool.Spec {
	for _, spec := range v.tools.Tools() {
		if spec.Name == name {
			return spec
		}
	}
	return tool.Spec{Name: name, Schema: json.RawMessage(`{}`)}
}

// fourEyes reports whether whoever asked may not decide.
func (v *Reviews) fourEyes(ctx context.Context, scope auth.Scope) (bool, error) {
	rules, err := v.store.OrgSettings(ctx, scope)
	return rules.RequiresFourEyes(), err
}

// may says what the viewer can do with a request. The rules themselves are the
// store's: this only decides what is offered.
func may(scope auth.Scope, r agents.Review, fourEyes bool) review.May {
	if r.Status != agents.ReviewOpen {
		return review.May{}
	}
	own := r.Requester == scope.User
	m := review.May{Withdraw: own && scope.Can(auth.PermRun)}
	if own && fourEyes || !scope.Can(auth.PermReview) {
		m.FourEyes = own && fourEyes
		return m
	}
	m.Approve, m.Edit = r.Allows(agents.Approve), r.Allows(agents.Edit)
	m.Respond, m.Reject = r.Allows(agents.Respond), r.Allows(agents.Reject) && !own
	return m
}

// state presents who holds a request. The page itself shows how a request ended;
// later a line says that it did.
func (v *Reviews) state(scope auth.Scope, r agents.Review, names map[auth.UserID]string, later bool) review.State {
	s := review.State{ID: string(r.ID), CanClaim: scope.Can(auth.PermReview) && r.Status == agents.ReviewOpen}
	switch {
	case r.Status != agents.ReviewOpen && later:
		s.Closed = present.Verdict(r.Status, names[r.DecidedBy], "") + "."
	case r.Status == agents.ReviewOpen && r.ClaimedBy != "" && v.clock.Now().Before(r.ClaimedUntil):
		s.Holder, s.Mine, s.Until = present.Member(names, r.ClaimedBy), r.ClaimedBy == scope.User, present.Clock(r.ClaimedUntil)
	}
	return s
}

func outcome(r agents.Review, names map[auth.UserID]string, now time.Time) *review.Outcome {
	o := &review.Outcome{Text: present.Verdict(r.Status, names[r.DecidedBy], ""), Tone: present.Tone(r.Status), At: present.Time(r.DecidedAt, now)}
	switch r.Status {
	case agents.ReviewRejected:
		o.Reason = r.Text
	case agents.ReviewAnswered:
		o.Answer = r.Text
	default:
	}
	return o
}

// lastMessages is how much of the conversation stands beside a request.
const lastMessages = 6

// around adds the conversation, the assistant and earlier requests for the call.
func (v *Reviews) around(ctx context.Context, scope auth.Scope, r agents.Review, out *review.Request) error {
	view, p, err := v.threads.load(ctx, scope, r.Thread)
	if fault.Is(err, fault.KindNotFound) {
		return nil // the request outlives what the viewer may read of it
	}
	if err != nil {
		return err
	}
	folded, err := present.Fold(view)
	if err != nil {
		return err
	}
	out.Assistant = p.Assistant
	out.Messages = p.Messages(folded)
	out.Messages = out.Messages[max(0, len(out.Messages)-lastMessages):]
	for _, e := range view.Reviews {
		if e.CallID == r.CallID && e.Line == r.Line && e.Round <= r.Round && e.ID != r.ID && !e.CreatedAt.After(r.CreatedAt) {
			out.Earlier = append(out.Earlier, review.Earlier{Href: "/reviews/" + string(e.ID),
				Text: present.Verdict(e.Status, p.Names[e.DecidedBy], e.Text), At: present.Time(e.CreatedAt, v.clock.Now())})
		}
	}
	return nil
}

// lookAhead is how far the next request is looked for: behind those that the
// viewer asked for or that others hold.
const lookAhead = 50

// next finds the request that follows one in the queue and that the viewer may
// decide on, from its start if none does; "" if there is none.
func (v *Reviews) next(ctx context.Context, scope auth.Scope, f reviewFilter, r agents.Review, fourEyes bool) (agents.ReviewID, error) {
	q := f.ReviewQuery
	q.Limit = lookAhead
	for _, from := range []agents.Review{r, {}} {
		q.AfterTime, q.AfterID = from.DueAt, from.ID
		found, err := v.store.Reviews(ctx, scope, q)
		if err != nil {
			return "", err
		}
		for _, n := range found {
			if n.ID != r.ID && !n.HeldBy(scope.User, v.clock.Now()) && (n.Requester != scope.User || !fourEyes) {
				return n.ID, nil
			}
		}
	}
	return "", nil
}
