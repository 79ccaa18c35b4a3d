package handlers

import (
	"bytes"
	"encoding/hex"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/api"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/argform"
	"github.com/heddle/heddle/views/review"
)

// Claim is POST /reviews/:review/claim: the reviewer holds the request; with
// force=1 also when somebody else does.
func (v *Reviews) Claim(c *fiber.Ctx) error {
	r, err := v.store.Review(c.UserContext(), middleware.Scope(c), reviewParam(c))
	if err != nil {
		return err
	}
	_, err = v.runs.ClaimReview(c.UserContext(), middleware.Scope(c), r.ID, c.FormValue("force") == "1")
	if fault.Is(err, fault.KindConflict) && !wantsJSON(c) {
		return v.lost(c, r.ID, err)
	}
	if err != nil {
		return err
	}
	return done(c, v.address(c, r.ID))
}

// Release is POST /reviews/:review/release: the reviewer gives the request back.
func (v *Reviews) Release(c *fiber.Ctx) error {
	r, err := v.store.Review(c.UserContext(), middleware.Scope(c), reviewParam(c))
	if err != nil {
		return err
	}
	if err := v.runs.ReleaseReview(c.UserContext(), middleware.Scope(c), r.ID); err != nil {
		return err
	}
	return done(c, v.address(c, r.ID))
}

func (v *Reviews) address(c *fiber.Ctx, r agents.ReviewID) string {
	return "/reviews/" + string(r) + readReviewFilter(c, false, v.clock.Now()).query()
}

// Decide is POST /reviews/:review/decide with the fields decision (approve,
// edit, reject, respond, withdraw), shown (the hash of the arguments on the
// page), text (a reason, or the answer in place of a result), the arguments as
// package argform names them, and next=1 to go on to the next request.
func (v *Reviews) Decide(c *fiber.Ctx) error {
	scope, ctx := middleware.Scope(c), c.UserContext()
	r, err := v.store.Review(ctx, scope, reviewParam(c))
	if err != nil {
		return err
	}
	d := agents.Decision{Review: r.ID, Kind: agents.DecisionKind(utils.CopyString(c.FormValue("decision"))),
		Text: strings.ReplaceAll(utils.CopyString(c.FormValue("text")), "\r\n", "\n")}
	if d.Shown, err = shownHash(c, d.Kind); err != nil {
		return err
	}
	if d.Kind != agents.Withdraw && r.Requester != scope.User || d.Kind == agents.Approve || d.Kind == agents.Edit {
		if err := scope.Require(auth.PermReview); err != nil {
			return err // before anything is said of what was typed
		}
	}
	form := argform.New(v.spec(r.Tool).Schema, r.Args)
	if d.Kind == agents.Approve || d.Kind == agents.Edit {
		var ok bool
		if form, ok, err = readEdit(c, r, form, &d); err != nil {
			return v.refused(c, r, d, form, err)
		} else if !ok {
			return v.brokenEdit(c, r, form)
		}
	}
	decided, err := v.runs.Decide(ctx, scope, []agents.Decision{d})
	if err != nil {
		return v.refused(c, r, d, form, err)
	}
	after, err := v.after(c, r, decided)
	if err != nil {
		return err
	}
	return done(c, after)
}

// shownHash reads what binds a decision to the arguments on the page.
func shownHash(c *fiber.Ctx, kind agents.DecisionKind) ([]byte, error) {
	switch kind {
	case agents.Withdraw:
		return nil, nil // it takes nothing but the request back
	case agents.Approve, agents.Edit, agents.Reject, agents.Respond:
	default:
		return nil, fault.Invalid("decision", "must be approve, edit, reject, respond or withdraw")
	}
	shown, err := hex.DecodeString(utils.CopyString(c.FormValue("shown")))
	if err != nil || len(shown) != len(agents.HashArgs(nil)) {
		return nil, fault.Invalid("shown", "must be the hash of the arguments on the page, in hexadecimal")
	}
	return shown, nil
}

// readEdit takes the arguments of a form into a decision. An edit that changes
// nothing is an approval, and an approval of a form that was changed is none: ok
// is then false, and the form says why.
func readEdit(c *fiber.Ctx, r agents.Review, form argform.Form, d *agents.Decision) (shown argform.Form, ok bool, err error) {
	if r.Status != agents.ReviewOpen {
		d.Kind = agents.Approve // it is refused, by whoever knows who was faster
		return form, true, nil
	}
	if !bytes.Equal(d.Shown, agents.HashArgs(r.Args)) {
		return form, false, agents.ErrArgsChanged
	}
	form, args, ok := form.Read(func(name string) (string, bool) {
		if !c.Request().PostArgs().Has(name) {
			return "", false
		}
		return string(c.Request().PostArgs().Peek(name)), true
	})
	changed := !bytes.Equal(args, r.Args)
	switch {
	case !ok:
		return form, false, nil
	case d.Kind == agents.Approve && changed:
		form.Error = "You changed the arguments. Choose «Edit and approve» to run the call with them, or put back what was proposed."
		return form, false, nil
	case d.Kind == agents.Edit && !changed && r.Allows(agents.Approve):
		d.Kind = agents.Approve
	case d.Kind == agents.Edit && !changed:
		form.Error = "Nothing is changed. The policy wants this call changed before it runs, answered or rejected."
		return form, false, nil
	case d.Kind == agents.Edit:
		if err := api.Storable("args", args); err != nil {
			return form, false, err
		}
		d.Args = args
	}
	return form, true, nil
}

// brokenEdit shows a form again whose fields can't be read, as it was typed.
func (v *Reviews) brokenEdit(c *fiber.Ctx, r agents.Review, form argform.Form) error {
	status := middleware.Status(fault.KindInvalid)
	if wantsJSON(c) {
		return fault.Invalid("args", "must fit the fields of the form")
	}
	return v.show(c, status, r, func(out *review.Request) { out.Form = form.Compare() })
}

// refused answers an attempt that did nothing: what can be mended comes back as
// it was typed; a conflict shows the request as it stands, with a sentence that
// says who was faster.
func (v *Reviews) refused(c *fiber.Ctx, r agents.Review, d agents.Decision, form argform.Form, err error) error {
	middleware.RetryAfter(c, err)
	switch {
	case wantsJSON(c):
		return err
	case fault.Is(err, fault.KindConflict):
		return v.lost(c, r.ID, err, func(out *review.Request) {
			if out.Outcome == nil && bytes.Equal(d.Shown, agents.HashArgs(r.Args)) {
				out.Form = form.Compare()
			}
		}, typed(d, ""))
	case fault.Is(err, fault.KindInvalid) && d.Kind == agents.Edit:
		rules := map[string]string{}
		for field, rule := range fault.FieldsOf(err) {
			rules[strings.TrimPrefix(strings.TrimPrefix(field, "args"), ".")] = rule
		}
		form = form.WithErrors(rules)
		return v.brokenEdit(c, r, form)
	case fault.Is(err, fault.KindInvalid) && (d.Kind == agents.Reject || d.Kind == agents.Respond):
		return v.show(c, middleware.Status(fault.KindInvalid), r, typed(d, sentences(fault.FieldsOf(err))["decision"]))
	default:
		return err
	}
}

// typed brings a reason or an answer back.
func typed(d agents.Decision, problem string) func(*review.Request) {
	return func(out *review.Request) {
		switch d.Kind {
		case agents.Reject:
			out.Reject = review.Words{Text: d.Text, Error: problem}
		case agents.Respond:
			out.Answer = review.Words{Text: d.Text, Error: problem}
		default:
		}
	}
}

// lost shows a request as it stands now, to somebody who came too late.
func (v *Reviews) lost(c *fiber.Ctx, of agents.ReviewID, cause error, changes ...func(*review.Request)) error {
	r, err := v.store.Review(c.UserContext(), middleware.Scope(c), of)
	if err != nil {
		return err
	}
	return v.show(c, middleware.Status(fault.KindConflict), r, func(out *review.Request) {
		out.Error = fault.Public(cause)
		for _, change := range changes {
			change(out)
		}
	})
}

// after is where a decision leads: to the next request, back to the queue when
// none is left, and for whoever withdrew to the conversation.
func (v *Reviews) after(c *fiber.Ctx, r agents.Review, decided agents.Decided) (string, error) {
	scope, ctx := middleware.Scope(c), c.UserContext()
	f := readReviewFilter(c, false, v.clock.Now())
	to := "/reviews"
	switch {
	case decided.Reviews[0].Status == agents.ReviewWithdrawn:
		return "/threads/" + string(r.Thread), nil
	case c.FormValue("next") != "1":
		to = "/reviews/" + string(r.ID)
	default:
		fourEyes, err := v.fourEyes(ctx, scope)
		if err != nil {
			return "", err
		}
		next, err := v.next(ctx, scope, f, r, fourEyes)
		if err != nil {
			return "", err
		}
		if next != "" {
			to = "/reviews/" + string(next)
		}
	}
	query := f.values()
	query.Set("decided", string(r.ID))
	return to + "?" + query.Encode(), nil
}
