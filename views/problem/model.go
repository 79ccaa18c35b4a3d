// Package problem shows what went wrong: what happened, what is safe, what to
// do. Handlers turn a fault into a [Problem]; its words never come from an
// error's private cause. Handlers may import it.
package problem

import "strconv"

// Action is a way on from a problem.
type Action struct {
	Label, Href string
}

// Problem is one page of failure.
type Problem struct {
	Status int
	Title  string
	Text   string
	// Safe says what has not been lost, if that is in doubt.
	Safe    string
	Actions []Action
	// RequestID finds the failure in the logs; empty leaves the line out.
	RequestID string
}

func (p Problem) code() string { return strconv.Itoa(p.Status) }

func home() []Action { return []Action{{Label: "Go to your threads", Href: "/"}} }

// NotFound is what an absent thing and one of another organisation look like.
func NotFound() Problem {
	return Problem{Status: 404, Title: "There is nothing here",
		Text: "The address is wrong, or it leads to something that was deleted or that you may not see.", Actions: home()}
}

// Forbidden names the rule that says no.
func Forbidden(rule string) Problem {
	return Problem{Status: 403, Title: "You may not do this", Text: rule, Actions: home()}
}

// Switched answers a page that was opened in another organisation.
func Switched(org string) Problem {
	return Problem{Status: 409, Title: "You switched to " + org,
		Text: "This page was opened in another organisation, so nothing was sent. Open it again to go on in " + org + ", or switch back first.",
		Safe: "What you wrote is kept in this browser.", Actions: home()}
}

// Conflict says that what was asked for is no longer possible.
func Conflict(text string) Problem {
	return Problem{Status: 409, Title: "That is no longer possible", Text: text, Actions: home()}
}

// Invalid says which rule an input broke.
func Invalid(text string) Problem {
	return Problem{Status: 422, Title: "That cannot be accepted", Text: text, Safe: "Nothing was changed. Go back to correct it.", Actions: home()}
}

// Internal is a bug of ours.
func Internal(requestID string) Problem {
	return Problem{Status: 500, Title: "Something went wrong on our side", Text: "The failure has been recorded. Trying again may help.",
		Safe: "Nothing you sent before was lost.", Actions: home(), RequestID: requestID}
}

// Maintenance says that a needed part is away for now.
func Maintenance(reason string) Problem {
	return Problem{Status: 503, Title: "Heddle is not available right now", Text: reason,
		Safe: "Threads and running work are kept and go on afterwards.", Actions: []Action{{Label: "Try again", Href: "/"}}}
}
