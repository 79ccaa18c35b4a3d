package testweb

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// Mail is an e-mail that the server kept instead of sending it.
type Mail struct{ To, Subject, Body string }

// Mails gives the e-mails that were sent, newest first.
func (s *Server) Mails(c *http.Client) []Mail {
	s.tb.Helper()
	var box struct{ Messages []Mail }
	s.Get(c, "/dev/outbox", "Accept", "application/json").JSON(s.tb, &box)
	return box.Messages
}

// AskForReview has a person write a message to the first assistant, whose answer
// is a call that waits for a review, and gives the thread and the request.
func (s *Server) AskForReview(c *http.Client, reviewer auth.Scope, message string) (thread string, review agents.Review) {
	s.tb.Helper()
	a := s.Post(c, "/threads", url.Values{"message": {message}})
	thread, ok := strings.CutPrefix(a.Path, "/threads/")
	if !ok {
		s.tb.Fatalf("testweb: a first message ended at %s with %d", a.Path, a.Status)
	}
	s.Eventually("a request for review on thread "+thread, func() bool {
		open, err := s.App.Database().Reviews(s.tb.Context(), reviewer, agents.ReviewQuery{Limit: 100})
		if err != nil {
			s.tb.Fatalf("testweb: listing reviews: %v", err)
		}
		for _, r := range open {
			if string(r.Thread) == thread {
				review = r
				return true
			}
		}
		return false
	})
	return thread, review
}
